"""The contract that every algorithm keeps: what it is given, what it returns, and who updates what.

Shape suffixes: B labelled batch, U unlabelled batch, C classes, H height, W width, D features.
All batch sizes here are those of one rank and one micro-batch.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from semisonic.models.norm import batch_statistics
from semisonic.schema import Config
from semisonic_kernels.ema import MovingAverage


@dataclass(frozen=True)
class Views:
    """The augmented views that an algorithm wants of each stream: name of the view -> augmentation recipe.

    An empty stream is not read at all. `draws` names the random numbers that
    a method needs besides its views (per unlabelled sample, uniform in [0, 1)): name -> how many; `labelled_draws` the
    same per labelled sample. `betas` gives those draws that follow Beta(a, a) in place of the uniform distribution:
    name -> a. `params` lists the views whose augmentation parameters the loss reads.
    """

    labelled: Mapping[str, str] = field(default_factory=dict)
    unlabelled: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=dict)
    labelled_draws: Mapping[str, int] = field(default_factory=dict)
    betas: Mapping[str, float] = field(default_factory=dict)
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if repeated := sorted(self.draws.keys() & self.labelled_draws.keys()):
            raise ValueError(f"Views: {repeated} are drawn for both streams; give them names of their own")
        if unknown := sorted(self.betas.keys() - self.draws.keys() - self.labelled_draws.keys()):
            raise ValueError(f"Views: betas {unknown} name no draws")
        if ambiguous := sorted(set(self.params) & self.labelled.keys() & self.unlabelled.keys()):
            raise ValueError(f"Views: params {ambiguous} name views of both streams; give them names of their own")


class Batch(NamedTuple):
    """One micro-batch on the device. Images are uint8 [N, 3, H, W], channels_last; indices are int64.

    A stream that the algorithm has no view of gives an empty dict and index tensors of length 0.
    """

    x: dict[str, Tensor]
    """Labelled views, each [B, 3, H, W]."""
    y: Tensor
    """Labels [B]."""
    x_index: Tensor
    """Position of each labelled sample in the labelled set [B]."""
    u: dict[str, Tensor]
    """Unlabelled views, each [U, 3, H, W]."""
    u_index: Tensor
    """Position of each unlabelled sample in the pool [U]."""
    u_true: Tensor
    """True class of the unlabelled samples [U], -1 where unknown. For metrics only, never for a loss."""
    u_key: Tensor
    """A random key of each unlabelled sample [U], another one each time it is drawn; see `semisonic_kernels.noise`."""
    draws: dict[str, Tensor]
    """The random numbers that `Views` asked for: float32 [U, n] or [B, n]."""
    params: dict[str, dict[str, Tensor]]
    """The augmentation parameters of the views named in `Views.params` (warp matrices, ...), each [N, ...]."""


class StepOutput(NamedTuple):
    loss: Tensor
    """Scalar; a mean over the rank's share of the global batch, so that the mean over ranks is the global loss."""
    metrics: dict[str, Tensor]
    """Detached scalars, or vectors [K], averaged over micro-batches, ranks and steps before they are logged."""
    observed: dict[str, Tensor]
    """Detached tensors that `update` needs: [N, ...] are gathered over micro-batches and ranks in global-sample order,
    0-d ones averaged."""


@dataclass(frozen=True)
class Info:
    """What an algorithm may know about the run when it sets up its state."""

    classes: int
    image_size: int
    labelled: int
    """Size of the labelled set."""
    unlabelled: int
    """Size of the unlabelled pool."""
    steps: int
    labelled_batch: int
    """Global."""
    unlabelled_batch: int
    """Global."""
    class_prior: tuple[float, ...]
    """Class frequencies of the labelled set, [C]."""
    mean: tuple[float, float, float]
    """Per channel, on the 0..1 scale."""
    std: tuple[float, float, float]


class EmaConfig(Config):
    decay: float = Field(0.999, ge=0, lt=1)
    """Weight of the old average in each update."""
    start_up: Literal["none", "tf", "mean_teacher"] = "none"
    """Start-up correction at update t: none; tf = min(decay, (1+t)/(10+t)); mean_teacher = min(decay, t/(t+1))."""
    buffers: Literal["copied", "averaged"] = "copied"
    """Floating BatchNorm buffers of the EMA model: copied from the live network, or averaged like parameters."""


class Runner(Protocol):
    """What the trainer offers to `Algorithm.train_step`."""

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """Proportional micro-batches of all streams, in order."""
        ...

    def forward(self, role: str, *args: Any) -> Any:
        """Calls the wrapped (DDP, DeepSpeed, compiled) module of a role; one backward must follow, before the next
        such call. Under `torch.no_grad` it calls the module itself (compiled), as often as is wanted.
        """
        ...

    def backward(self, role: str, loss: Tensor) -> None: ...

    def accumulate(self, role: str, last: bool) -> AbstractContextManager[None]:
        """Gradients are synchronised over the ranks only inside the last micro-batch's context."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the ranks, detached; for use outside the wrapped modules."""
        ...

    def optimizer_step(self, role: str) -> None:
        """Clips (if asked), steps and zeroes the role's optimiser."""
        ...


class Algorithm(nn.Module):
    """Base of all algorithms. A subclass states `views` and `loss`, and `setup` and `update` if it has state.

    * `loss` reads state and writes none; only its one tracking forward moves BatchNorm running statistics.
    * Everything to be remembered is a registered buffer; `update` is its only writer, once per optimiser step,
      from `observed` tensors gathered over all ranks and micro-batches, identically on every rank.
    * What changes every step is a tensor (`self.step`), never a Python number, which would recompile the graph.
    """

    Config: ClassVar[type[Config]]
    roles: ClassVar[tuple[str, ...]] = ("network",)
    """Parts with an optimiser of their own. `role_module(name)` is what the trainer wraps."""
    micro_batches: ClassVar[bool] = True
    """False where a loss couples all samples of the batch, so that slices of it mean something else."""
    inner_gradients: ClassVar[bool] = False
    """True where a loss takes a gradient itself (`parts.input_gradient`), inside which no graph may be cut."""
    step: Tensor
    """Finished optimiser steps, 0-d int64."""
    ema_updates: Tensor
    held_out_counts: Tensor
    """Held-out images, those that the EMA network classified correctly and all, at the last evaluation: int64 [2]."""
    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(
        self,
        cfg: Any,
        build: Callable[[], nn.Module],
        info: Info,
        ema: EmaConfig | None = None,
        autocast: torch.dtype | None = None,
    ):
        super().__init__()
        self.cfg, self.info, self.ema_cfg, self.autocast = cfg, info, ema or EmaConfig(), autocast
        self.build = build  # for methods with further networks
        self.network = build()
        self.ema = shadow_of(self.network)
        self._averages: Any = None
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ema_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("held_out_counts", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("pixel_mean", 255 * torch.tensor(info.mean).view(1, 3, 1, 1))
        self.register_buffer("pixel_scale", 1 / (255 * torch.tensor(info.std).view(1, 3, 1, 1)))
        self.setup(info)

    # What a method defines.

    @classmethod
    def views(cls, cfg: Any) -> Views:
        """The views of a labelled and of an unlabelled image that `loss` reads."""
        raise NotImplementedError

    @classmethod
    def check(cls, cfg: Any, labelled: int, unlabelled: int) -> list[str]:
        """What speaks against these micro-batch sizes of a rank, one line each naming its field."""
        return []

    @classmethod
    def reads_held_out(cls, cfg: Any) -> bool:
        """Whether the method reads `held_out_counts`, so that it cannot run without held-out images."""
        return False

    @classmethod
    def takes_micro_batches(cls, cfg: Any) -> bool:
        """Whether slices of a batch mean the same as the whole, as configured."""
        return cls.micro_batches

    def setup(self, info: Info) -> None:
        """Registers the method's own buffers and heads."""

    def loss(self, batch: Batch) -> StepOutput:
        """The method itself, on one rank's share of one micro-batch."""
        raise NotImplementedError

    def update(self, observed: dict[str, Tensor]) -> None:
        """Commits state from the gathered `observed` tensors [global batch, ...]."""

    def role_module(self, role: str) -> nn.Module:
        return self

    def role_optim(self, role: str, optim: Any) -> Any:
        """The optimiser's configuration (an `OptimConfig`) of a role, from the run's."""
        return optim

    def train_step(self, batch: Batch, run: Runner) -> StepOutput:
        """One optimiser step. Only methods with several optimisers override it."""
        micros = run.micro_batches(batch)
        outputs = []
        for position, micro in enumerate(micros, start=1):
            with run.accumulate("network", last=position == len(micros)):
                output = run.forward("network", micro)
                run.backward("network", output.loss / len(micros))
            outputs.append(output)
        run.optimizer_step("network")
        return merge(outputs)

    # What every method uses.

    def forward(self, batch: Batch) -> StepOutput:
        return self.loss(batch)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 with the data set's mean 0 and deviation 1; float images pass unchanged."""
        if images.dtype != torch.uint8:
            return images
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) * self.pixel_scale

    def classify(self, *views: Tensor, net: str = "network", track: bool = True) -> tuple[Tensor, ...]:
        """Logits [N, C] (float32) of each view [N, 3, H, W], from one forward over all views.

        `net` names a submodule: "network", "ema", or one that `setup` made. The views share batch statistics, so any
        interleaving would change nothing. Exactly one call a step has `track=True` and moves the running statistics;
        the EMA uses batch statistics in training mode and never moves its own. All views need the same H and W.
        """
        images = [self.normalise(view) for view in views]  # each: a method may give mixed or perturbed ones
        logits = self.infer(torch.cat(images), net, track)
        return logits.split([len(view) for view in views])

    def infer(self, images: Tensor, net: str = "network", track: bool = True, autocast: bool = True) -> Tensor:
        """Logits [N, C] (float32) of images [N, 3, H, W], uint8 or already normalised.

        `autocast=False` keeps a computation in float32 that half precision would drown, such as VAT's perturbation.
        """
        network = self.get_submodule(net)
        return self._run(network, self.normalise(images), track and net != "ema", autocast)

    def features(self, *views: Tensor, net: str = "network", track: bool = True) -> tuple[Tensor, ...]:
        """The input [N, D] (float32) of the network's head for each view; otherwise as `classify`.

        `self.head(features)` gives the logits; heads of the method's own take the same features.
        """
        images = torch.cat([self.normalise(view) for view in views])
        function: Any = self.get_submodule(net).features
        found = self._run(function, images, track and net != "ema")
        return found.split([len(view) for view in views])

    def head(self, features: Tensor, head: str = "network.head") -> Tensor:
        """What a linear or other head makes of features [N, D], in float32; `head` names a submodule."""
        return self._run(self.get_submodule(head), features)

    def _run(
        self, function: Callable[[Tensor], Tensor], inputs: Tensor, track: bool = False, autocast: bool = True
    ) -> Tensor:
        dtype = self.autocast or torch.bfloat16
        with (
            batch_statistics(track=track),
            torch.autocast(inputs.device.type, dtype=dtype, enabled=autocast and self.autocast is not None),
        ):
            output = function(inputs)
        return output.to(torch.promote_types(output.dtype, torch.float32))

    def averaged_parameters(self) -> dict[Tensor, Tensor]:
        """Parameter of `network` -> its average, both kept in place."""
        shadow = dict(self.ema.named_buffers())
        return {parameter: shadow[name] for name, parameter in self.network.named_parameters()}

    @torch.no_grad()
    def update_ema(self, parameters: bool = True) -> None:
        """ema <- a ema + (1-a) network for parameters; buffers as configured. Counts its own updates.

        `parameters=False` leaves out the parameters, where the optimiser has moved their averages itself.
        """
        if self._averages is None:
            self._averages = self._averaged()
        averages, averaged_buffers, copied = self._averages
        weight = self.ema_weight()
        if parameters:
            averages.update(weight)
        averaged_buffers.update(weight)
        for shadows, live in copied:
            torch._foreach_copy_(shadows, live)
        self.ema_updates += 1

    def _averaged(self) -> tuple[MovingAverage, MovingAverage, list[tuple[list[Tensor], list[Tensor]]]]:
        """Averages of parameters, of buffers, and the buffers to be copied (to, from), in groups of one dtype."""
        pairs, shadow = self.averaged_parameters(), dict(self.ema.named_buffers())
        averaged: dict[Tensor, Tensor] = {}
        copied: dict[torch.dtype, dict[Tensor, Tensor]] = {}
        for name, buffer in self.network.named_buffers():
            mean = self.ema_cfg.buffers == "averaged" and buffer.is_floating_point()
            (averaged if mean else copied.setdefault(buffer.dtype, {}))[buffer] = shadow[name]
        return (
            MovingAverage(list(pairs.values()), list(pairs)),
            MovingAverage(list(averaged.values()), list(averaged)),
            [(list(group.values()), list(group)) for group in copied.values()],
        )

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Algorithm":
        self._averages = None  # moving or casting a module makes new tensors
        return super()._apply(fn, recurse)

    def ema_weight(self) -> Tensor:
        """1 - decay of the next update: 0-d float64 on the device."""
        return 1 - self.ema_decay()

    def ema_decay(self) -> Tensor:
        """Decay of the next update, with the start-up correction (t = 0 at the first): a 0-d float tensor."""
        t = self.ema_updates.double()
        decay = torch.full_like(t, self.ema_cfg.decay)
        if self.ema_cfg.start_up == "tf":
            decay = torch.minimum(decay, (1 + t) / (10 + t))
        elif self.ema_cfg.start_up == "mean_teacher":
            decay = torch.minimum(decay, t / (t + 1))
        return decay


class Part(nn.Module):
    """What is wrapped for one role of several (as in Meta Pseudo Labels): its network, and a method as its forward.

    Keep it in a plain dict, not as a submodule, so that every tensor has one name in the state dict.
    """

    def __init__(self, network: nn.Module, method: Callable[..., Any]):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *args: Any) -> Any:
        return self.method(*args)


def cut(batch: Batch, count: int) -> list[Batch]:
    """Equal micro-batches of a rank's share, in order; each has its part of both streams."""
    if count == 1:
        return [batch]
    return [tree_map(lambda value, k=k: value.tensor_split(count)[k], batch) for k in range(count)]


def merge(outputs: Sequence[StepOutput]) -> StepOutput:
    """The step's output from those of its micro-batches: losses and metrics averaged, observations concatenated."""
    if len(outputs) == 1:
        return outputs[0]

    def joined(values: list[Tensor]) -> Tensor:
        return torch.cat(values) if values[0].ndim else torch.stack(values).mean()

    first = outputs[0]
    return StepOutput(
        loss=joined([output.loss.detach() for output in outputs]),
        metrics={name: torch.stack([output.metrics[name] for output in outputs]).mean(0) for name in first.metrics},
        observed={name: joined([output.observed[name] for output in outputs]) for name in first.observed},
    )


def shadow_of(network: nn.Module) -> nn.Module:
    """A deep copy of the network whose parameters are float32 buffers.

    As buffers they stay out of optimisers, gradients and DDP buckets, and DeepSpeed does not cast them: an
    average with decay 0.999 kept in bfloat16 would stand still.
    """
    shadow = copy.deepcopy(network)
    for module in shadow.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            value = parameter.detach()
            module.register_buffer(name, value.to(torch.promote_types(value.dtype, torch.float32)).clone())
    return shadow
