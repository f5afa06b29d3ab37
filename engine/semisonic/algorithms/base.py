"""The base of all algorithms: what a method states, and what every method uses.

Shape suffixes: B labeled batch, U unlabeled batch, C classes, H height, W width, D features.
All batch sizes here are those of one rank and one micro-batch.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.add_on import CHANGES, AddOn, changes
from semisonic.algorithms.averaged import AveragedNetwork
from semisonic.algorithms.label_weights import LabelWeights
from semisonic.algorithms.ramps import ramp_length, shares_of_the_run
from semisonic.algorithms.row_keys import phase
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Guess, Info, Runner, Seen, StepOutput, Views, merge
from semisonic.models.ema import EmaConfig, averaged_parameters, shadow_of
from semisonic.schema import Config
from semisonic_kernels.losses import consistency_loss, pseudo_labels


class Algorithm(AveragedNetwork):
    """Base of all algorithms. A subclass states `views` and `loss`, and `setup` and `update` if it has state.

    * `loss` reads state and writes none; only its one tracking forward moves BatchNorm running statistics.
    * Everything to be remembered is a registered buffer; `update` is its only writer, once per optimizer step,
      from `observed` tensors gathered over all ranks and micro-batches, identically on every rank.
    * What changes every step is a tensor (`self.step`), never a Python number, which would recompile the graph.
    """

    Config: ClassVar[type[Config]]
    roles: ClassVar[tuple[str, ...]] = ("network",)
    """Parts with an optimizer of their own. `role_module(name)` is what the trainer wraps."""
    micro_batches: ClassVar[bool] = True
    """False where a loss couples all samples of the batch, so that slices of it mean something else."""
    growing_batches: ClassVar[bool] = True
    """False where state or a loss depends on how many unlabeled images a step has, so that they may not grow in number
    over the run."""
    inner_gradients: ClassVar[bool] = False
    """True where a loss takes a gradient itself (`gradients.input_gradient`), inside which no graph may be cut."""
    own_task: ClassVar[bool] = False
    """True where features are trained on a task without labels, and labels train a probe of them alone."""
    open_to: ClassVar[tuple[str, ...]] = ()
    """Which `add_on.CHANGES` the loss asks its add-ons for."""
    step: Tensor
    """Finished optimizer steps, 0-d int64."""
    held_out_counts: Tensor
    """Held-out images, those that the EMA network classified correctly and all, at the last evaluation: int64 [2]."""

    def __init__(
        self,
        cfg: Any,
        build: Callable[[], nn.Module],
        info: Info,
        ema: EmaConfig | None = None,
        autocast: torch.dtype | None = None,
        addons: Mapping[str, AddOn] | None = None,
        weights: LabelWeights | None = None,
    ):
        super().__init__(build(), info, ema or EmaConfig(), autocast)
        self.cfg, self.info = cfg, info
        self.build = build  # for methods with further networks
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("held_out_counts", torch.zeros(2, dtype=torch.int64))
        self.label_weights = weights
        self.setup(info)
        self.addons, self.ema_heads = nn.ModuleDict(), nn.ModuleDict()
        for name, addon in (addons or {}).items():
            addon.setup(self, info)
            self.addons[name] = addon
            if addon.own_head:
                self.ema_heads[name] = shadow_of(_linear(name, addon.get_submodule(addon.own_head)))
        self._changing = {
            what: tuple(name for name, addon in (addons or {}).items() if what in changes(type(addon)))
            for what in CHANGES
        }
        self.number_layers()
        self.find_frozen()

    # What a method defines.

    @classmethod
    def views(cls, cfg: Any) -> Views:
        """The views of a labeled and of an unlabeled image that `loss` reads."""
        raise NotImplementedError

    @classmethod
    def problems(cls, cfg: Any, labeled: int, unlabeled: int) -> list[str]:
        """What speaks against these micro-batch sizes of a rank, one line each naming its field."""
        return []

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """The recipe itself: nothing is changed.

        A method overrides this with what its paper has in place of a data set's recipe, which is FixMatch's; the first
        line is shown by `--list`, the others give costs and published errors (see `algorithms.settings`).
        """
        return {}

    @classmethod
    def reads_held_out(cls, cfg: Any) -> bool:
        """Whether the method reads `held_out_counts`, so that it cannot run without held-out images."""
        return False

    @classmethod
    def depends_on_steps(cls, cfg: Any) -> list[str]:
        """Fields by which, as configured, a step depends on the number of steps of the whole run."""
        return shares_of_the_run(cfg, "ramp")

    @classmethod
    def sees(cls, cfg: Any) -> tuple[str, ...]:
        """Which views the loss reports in `StepOutput.seen`, as configured: "labeled", "guessed", "trained"."""
        return ()

    @classmethod
    def takes_micro_batches(cls, cfg: Any) -> bool:
        """Whether slices of a batch mean the same as the whole, as configured."""
        return cls.micro_batches

    @classmethod
    def aligns(cls, cfg: Any) -> bool:
        """Whether the method aligns the distribution of its guesses itself, as configured."""
        return False

    @classmethod
    def takes_growing_batches(cls, cfg: Any) -> bool:
        """Whether the number of unlabeled images of a step may grow over the run, as configured."""
        return cls.growing_batches

    @classmethod
    def ramped(cls, cfg: Any, steps: int) -> float:
        """The step, of so many, from which on no weight, threshold or other setting of the method still ramps.

        By default the end of its field `ramp`: up to 1 a share of the run, above it steps.
        """
        return ramp_length(getattr(cfg, "ramp", None) or 0.0, steps)

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
        """The optimizer's configuration (an `OptimConfig`) of a role, from the run's."""
        return optim

    def train_step(self, batch: Batch, run: Runner) -> StepOutput:
        """One optimizer step. Only methods with several optimizers override it."""
        engine, micros = run["network"], run.micro_batches(batch)
        outputs = []
        for position, micro in enumerate(micros, start=1):
            with engine.accumulate(last=position == len(micros)):
                output = engine(micro)
                engine.backward(output.loss / len(micros))
            outputs.append(output)
        engine.step()
        return merge(outputs)

    # What every method uses.

    @property
    def inputs(self) -> Views:
        """All views, draws and streams that a step reads, the add-ons' too."""
        own = [addon.views(addon.cfg, addon.base) for _, addon in self._addons()]
        return reduce(Views.joined, own, self.views(self.cfg))

    def forward(self, batch: Batch) -> StepOutput:
        """The loss with the terms of all add-ons; their observations are named ADDON/NAME."""
        with phase("loss", batch) if self._draws else nullcontext():
            output = self.loss(batch)
            loss, metrics, observed = output.loss, dict(output.metrics), dict(output.observed)
            for name, addon in self._addons():
                term = addon.term(self, batch, output)
                loss = loss if term.loss is None else loss + term.loss
                metrics |= term.metrics
                observed |= {f"{name}/{key}": value for key, value in term.observed.items()}
        return StepOutput(loss, metrics, observed)

    def commit(self, observed: dict[str, Tensor]) -> None:
        """Commits all state, the add-ons' too, from the gathered `observed` tensors of `forward`."""
        self.update({name: value for name, value in observed.items() if "/" not in name})
        for name, addon in self._addons():
            own = {key.removeprefix(f"{name}/"): value for key, value in observed.items() if key.startswith(f"{name}/")}
            addon.update(own)

    def tables(self) -> Any:
        """What the draws of adaptive views follow: an add-on's, or None."""
        return next((found for _, addon in self._addons() if (found := addon.tables()) is not None), None)

    def labeled_tables(self) -> dict[str, dict[str, Tensor]]:
        """What the add-ons know of every labeled image: see `AddOn.labeled_tables`."""
        return {name: table for _, addon in self._addons() for name, table in addon.labeled_tables().items()}

    def _addons(self) -> list[tuple[str, Any]]:
        return list(self.addons.items())

    def _that(self, what: str) -> list[Any]:
        """The add-ons that make one of `add_on.CHANGES`, where the method is open to it."""
        return [self.addons[name] for name in self._changing[what]] if what in self.open_to else []

    # What a loss asks of its add-ons; without any, each is what the equations of the papers have.

    def labeled_logits(self, seen: Seen) -> Tensor:
        """The logits that are trained on labels: [B, C]."""
        logits_BC = seen.logits
        for addon in self._that("labeled_logits"):
            logits_BC = addon.labeled_logits(logits_BC, seen)
        return logits_BC

    def guessed_logits(self, seen: Seen) -> Tensor:
        """The logits that labels are guessed from: [U, C]."""
        logits_UC = seen.logits
        for addon in self._that("guessed_logits"):
            logits_UC = addon.guessed_logits(logits_UC, seen)
        return logits_UC

    def trained_logits(self, seen: Seen) -> Tensor:
        """The logits that are trained on guessed labels: [U, C]."""
        logits_UC = seen.logits
        for addon in self._that("trained_logits"):
            logits_UC = addon.trained_logits(logits_UC, seen)
        return logits_UC

    def labeled_weights(self, label_B: Tensor, index_B: Tensor | None = None) -> Tensor | None:
        """How much each labeled sample counts [B]; None: all by 1. index: positions in the labeled set."""
        own = self.label_weights
        return self._changed_weights(None if own is None else own.of(label_B, index_B), label_B)

    def _changed_weights(self, weights_B: Tensor | None, label_B: Tensor) -> Tensor | None:
        """Weights with the changes of add-ons."""
        for addon in self._that("labeled_weights"):
            weights_B = torch.ones_like(label_B, dtype=self.pixel_mean.dtype) if weights_B is None else weights_B
            weights_B = addon.labeled_weights(weights_B, label_B)
        return weights_B

    def labeled_loss(
        self, seen: Seen, label_B: Tensor, label_smoothing: float = 0.0, index_B: Tensor | None = None
    ) -> Tensor:
        """Mean weighted cross-entropy of the labeled samples, 0-d. index: their positions in the labeled set."""
        return self.labeled_loss_of(self.labeled_logits(seen), label_B, label_smoothing, index_B)

    def labeled_loss_of(
        self, logits_BC: Tensor, label_B: Tensor, label_smoothing: float = 0.0, index_B: Tensor | None = None
    ) -> Tensor:
        """The same of logits that `labeled_logits` has given, or what a method has made of them."""
        weights_B = self.labeled_weights(label_B, index_B)
        if weights_B is None:
            return F.cross_entropy(logits_BC, label_B, label_smoothing=label_smoothing)
        losses_B = F.cross_entropy(logits_BC, label_B, reduction="none", label_smoothing=label_smoothing)
        return (weights_B * losses_B).mean()

    def weighed(self, targets_BC: Tensor, index_B: Tensor) -> Tensor:
        """Targets [B, C] of labeled samples, each times the image's own weight, to be mixed with one another."""
        image_B = None if self.label_weights is None else self.label_weights.of_images(index_B)
        return targets_BC if image_B is None else targets_BC * image_B[:, None]

    def mixed_labeled_loss(
        self, seen: Seen, targets_BC: Tensor, label_B: Tensor, index_B: Tensor | None = None
    ) -> Tensor:
        """The same of samples whose labels are mixed with others' to targets [B, C], where label and index are of the
        larger part. A class counts by its share of the target, and the image by the weight of the larger part; without
        an index, targets are `weighed` already."""
        own = self.label_weights
        image_B = None if own is None or index_B is None else own.of_images(index_B)
        weights_B = self._changed_weights(image_B, label_B)
        if own is not None and own.by_class is not None:
            targets_BC = targets_BC * own.by_class
        return consistency_loss(self.labeled_logits(seen), targets_BC, weights_B)

    @torch.no_grad()
    def guess_labels(self, seen: Seen, threshold: float | Tensor = 0.0) -> Guess:
        """Hard labels, and 1 in the mask where their confidence reaches the threshold (see `pseudo_labels`)."""
        return self.guess_from(self.guessed_logits(seen), threshold)

    @torch.no_grad()
    def guess_from(self, logits_UC: Tensor, threshold: float | Tensor = 0.0, weights_U: Tensor | None = None) -> Guess:
        """The same from logits that `guessed_logits` has given, or what a method has made of them. weights: how much
        each guess counts, in place of the threshold's mask."""
        logits_UC = logits_UC.detach()
        label_U, confidence_U, mask_U = pseudo_labels(logits_UC, threshold)
        mask_U = mask_U if weights_U is None else weights_U
        guess = Guess(logits_UC, confidence_U, label_U, mask_U, targets=label_U)
        for addon in self._that("mask"):
            guess = guess._replace(mask=addon.mask(guess))
        for addon in self._that("targets"):
            targets = addon.targets(guess)
            labels = targets.argmax(-1) if targets.is_floating_point() else targets
            guess = guess._replace(labels=labels, targets=targets)
        return guess

    # In use.

    def predict(self, images: Tensor, module: str) -> Tensor:
        """Logits [N, C] (float32) as they are evaluated and exported; `module`: "network" or "ema"."""
        name = self.exported
        if name is None:
            logits = self.infer(images, module)
        else:
            (features,) = self.features(images, module=module)
            logits = self.head(features, self.head_of(name, module))
        for _, addon in self._addons():
            if (offset_C := addon.prediction_offset()) is not None:
                logits = logits + offset_C
        return logits

    @property
    def exported(self) -> str | None:
        """The add-on whose head is used in the main one's place, if there is one."""
        return next(iter(self.ema_heads), None)

    def exported_head(self) -> dict[str, Any] | None:
        """What makes the logits in place of the network's own head: the names of its tensors begin with `ema` or `raw`
        in a checkpoint, and `offset` [C] is added to its bias. None: the head is the network's, and nothing is added.
        """
        offsets = [offset for _, addon in self._addons() if (offset := addon.prediction_offset()) is not None]
        name = self.exported
        if name is None and not offsets:
            return None
        raw, ema = ("network.head", "ema.head") if name is None else (self.head_of(name, m) for m in ("network", "ema"))
        return {"raw": raw, "ema": ema, "offset": torch.stack(offsets).sum(0).tolist() if offsets else None}

    def head_of(self, addon: str, module: str) -> str:
        """The submodule that is the head of an add-on with these weights: its own or the averaged ones."""
        return f"ema_heads.{addon}" if module == "ema" else f"addons.{addon}.{self.addons[addon].own_head}"

    def averaged_parameters(self) -> dict[Tensor, Tensor]:
        """Trained parameter of `network`, or of an add-on's exported head -> its average, both kept in place."""
        averaged = super().averaged_parameters()
        for name, shadow in self.ema_heads.items():
            averaged |= averaged_parameters(self.get_submodule(self.head_of(name, "network")), shadow)
        return averaged


def _linear(name: str, head: nn.Module) -> nn.Linear:
    if not isinstance(head, nn.Linear) or head.bias is None:
        raise TypeError(f"{name}: a head in place of the network's must be an nn.Linear with a bias")
    return head


class RoleModule(nn.Module):
    """What is wrapped for one role of several (as in Meta Pseudo Labels): its network, and a method as its forward.

    The method does its work inside `with phase(name, batch):` (`row_keys`), so that layers draw the same numbers on any
    number of ranks.

    Keep it in a plain dict, not as a submodule, so that every tensor has one name in the state dict.
    """

    def __init__(self, network: nn.Module, method: Callable[..., Any]):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *args: Any) -> Any:
        return self.method(*args)
