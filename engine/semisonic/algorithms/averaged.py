"""A network and its moving average, and how views go through them.

Shape suffixes: D features.
All batch sizes here are those of one rank and one micro-batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from semisonic.algorithms.row_keys import row_keys
from semisonic.contract import Info, Rank, Seen
from semisonic.models.ema import Averages, EmaConfig, averaged_parameters, ema_decay, shadow_of, share_frozen
from semisonic.models.frozen import frozen_modules, is_frozen
from semisonic.models.norm import StartUp, batch_statistics
from semisonic.models.randomness import RandomLayer, drawn_by, may_draw, number_layers
from semisonic_kernels.images import normalized


class AveragedNetwork(nn.Module):
    """`network`, `ema` and further submodules, by whose names the methods below call them.

    Layers that draw random numbers draw them for an image's place in the global batch. Each tensor that the methods are
    given is a view, of which a rank has its share; `rows` says of how many views, and of how many rows each, where one
    tensor holds several.
    """

    ema_updates: Tensor
    step: Tensor
    draw_key: Tensor
    """The key of the run's random numbers, 0-d int64."""
    rank_share: Tensor
    """Rank and number of ranks, int64 [2]."""
    pixel_mean: Tensor
    pixel_scale: Tensor
    by_batch: bool
    """Whether a layer of the network that is not frozen normalizes by the images of its batch."""

    def __init__(self, network: nn.Module, info: Info, ema: EmaConfig, autocast: torch.dtype | None):
        super().__init__()
        self.ema_cfg, self.autocast = ema, autocast
        self.start_up: StartUp | None = None
        """Of the running statistics of those layers that have `start_up`."""
        self.network = network
        self.ema = shadow_of(network)
        self._averages: Averages | None = None
        self._draws = False
        self._frozen: tuple[nn.Module, ...] = ()
        self._trained: tuple[nn.Module, ...] = ()
        self.register_buffer("ema_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("draw_key", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("rank_share", torch.tensor([0, 1]), persistent=False)
        self.register_buffer("pixel_mean", 255 * torch.tensor(info.mean).view(1, 3, 1, 1))
        self.register_buffer("pixel_scale", 1 / (255 * torch.tensor(info.std).view(1, 3, 1, 1)))

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 with the data set's mean 0 and deviation 1; float images pass unchanged."""
        if images.dtype != torch.uint8:
            return images
        return normalized(images, self.pixel_mean, self.pixel_scale)

    def joined(self, views: Sequence[Tensor]) -> Tensor:
        """All views in one batch, normalized; bytes are a quarter of what there is to copy."""
        if len(views) == 1:
            return self.normalize(views[0])
        if all(view.dtype == torch.uint8 for view in views):
            return self.normalize(torch.cat(list(views)))
        return torch.cat([self.normalize(view) for view in views])  # a method may give mixed or perturbed ones

    def classify(self, *views: Tensor, module: str = "network", track: bool = True) -> tuple[Tensor, ...]:
        """Logits [N, C] (float32) of each view [N, 3, H, W], from one forward over all views.

        `module` names a submodule: "network", "ema", or one that `setup` made. The views share batch statistics, so any
        interleaving would change nothing. Exactly one call a step has `track=True` and moves the running statistics;
        the EMA uses batch statistics in training mode and never moves its own. All views need the same H and W.
        """
        sizes = [len(view) for view in views]
        return torch.split(self.infer(self.joined(views), module, track, rows=sizes), sizes)

    def infer(
        self,
        images: Tensor,
        module: str = "network",
        track: bool = True,
        autocast: bool = True,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Logits [N, C] (float32) of images [N, 3, H, W], uint8 or already normalized.

        `autocast=False` keeps a computation in float32 that half precision would drown, such as VAT's perturbation.
        """
        network = self.get_submodule(module)
        return self._run(network, self.normalize(images), track and module != "ema", autocast, rows)

    def features(
        self, *views: Tensor, module: str = "network", track: bool = True, rows: Sequence[int] | None = None
    ) -> tuple[Tensor, ...]:
        """The input [N, D] (float32) of the network's head for each view; otherwise as `classify`.

        `self.head(features)` gives the logits; heads of the method's own take the same features.
        """
        images = self.joined(views)
        function: Any = self.get_submodule(module).features
        sizes = [len(view) for view in views]
        found = self._run(function, images, track and module != "ema", rows=rows or sizes)
        return torch.split(found, sizes)

    def look(
        self,
        *views: Tensor,
        module: str = "network",
        track: bool = True,
        autocast: bool = True,
        rows: Sequence[int] | None = None,
    ) -> tuple[Seen, ...]:
        """Logits and features of each view, from one forward over all views; otherwise as `classify`."""
        images = self.joined(views)
        function: Any = self.get_submodule(module).features
        sizes = [len(view) for view in views]
        features = self._run(function, images, track and module != "ema", autocast, rows or sizes)
        logits = self._run(self.get_submodule(f"{module}.head"), features, autocast=autocast, rows=rows or sizes)
        return tuple(map(Seen, torch.split(logits, sizes), torch.split(features, sizes)))

    def head(self, features: Tensor, head: str = "network.head", rows: Sequence[int] | None = None) -> Tensor:
        """What a linear or other head makes of features [N, D], in float32; `head` names a submodule."""
        return self._run(self.get_submodule(head), features, rows=rows)

    def _run(
        self,
        function: Callable[[Tensor], Tensor],
        inputs: Tensor,
        track: bool = False,
        autocast: bool = True,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        if rows is not None and sum(rows) != len(inputs):
            raise ValueError(f"rows: {list(rows)} are {sum(rows)} rows, but there are {len(inputs)}")
        dtype, weight = self.autocast or torch.bfloat16, None
        if track and self.start_up is not None:
            weight = self.start_up.weight(self.step).to(self.pixel_mean.dtype)
        with (
            drawn_by(self._row_keys([len(inputs)] if rows is None else rows)),
            batch_statistics(track=track, start_up=weight),
            torch.autocast(inputs.device.type, dtype=dtype, enabled=autocast and self.autocast is not None),
        ):
            output = function(inputs)
        return output.to(torch.promote_types(output.dtype, torch.float32))

    def draw_from(self, key: int, rank: Rank) -> None:
        """Has layers draw the numbers of a run's key (63 bits), this rank its own share of them."""
        self.draw_key.fill_(key)
        self.rank_share.copy_(torch.tensor([rank.rank, rank.world_size]))

    def number_layers(self) -> None:
        """Numbers the layers that draw, once all are there."""
        number_layers(self)
        self._draws = any(isinstance(layer, RandomLayer) for layer in self.modules())

    def find_frozen(self) -> None:
        """Finds the modules that are not trained, once all are there, and whether another normalizes by batches."""
        self._frozen = tuple(frozen_modules(self))
        norms = [module for module in self.network.modules() if isinstance(module, _NormBase)]
        self.by_batch = any(not is_frozen(module) for module in norms)
        frozen = set(self._frozen)
        self._trained = tuple(module for module in self.modules() if module not in frozen)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self

    def ready_to_train(self) -> Self:
        """`train`, but only where a module is not as that leaves it: walking through all of them costs each step."""
        ready = all(module.training for module in self._trained) and not any(m.training for m in self._frozen)
        return self if ready and self._trained else self.train()

    def _row_keys(self, rows: Sequence[int]) -> Tensor | None:
        """What the layers of the next forward draw from."""
        if not (self._draws and self.training and may_draw()):
            return None
        return row_keys(self.draw_key, self.step, self.rank_share, rows)

    def averaged_parameters(self) -> dict[Tensor, Tensor]:
        """Parameter of `network` that is trained -> its average, both kept in place."""
        return averaged_parameters(self.network, self.ema)

    @torch.no_grad()
    def update_ema(self, parameters: bool = True) -> None:
        """ema <- a ema + (1-a) network for parameters; buffers as configured. Counts its own updates.

        `parameters=False` leaves out the parameters, where the optimizer has moved their averages itself.
        """
        if self._averages is None:
            self._averages = Averages(self.averaged_parameters(), self.network, self.ema, self.ema_cfg.buffers)
        self._averages.update(self.ema_weight(), parameters)
        self.ema_updates += 1

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        self._averages = None  # moving or casting a module makes new tensors
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch gives it no types
        share_frozen(self.network, self.ema)
        return self

    def ema_weight(self) -> Tensor:
        """1 - decay of the next update: 0-d float64 on the device."""
        return 1 - ema_decay(self.ema_cfg, self.ema_updates)
