"""What algorithms, data and training agree on: the views of a batch, a step's output, and who updates what.

Shape suffixes: B labeled batch, U unlabeled batch, C classes, H height, W width, D features.
All batch sizes here are those of one rank and one micro-batch. This module imports torch alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Rank:
    """One process of a run: its number, 0 to world_size - 1, and how many there are."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


ALONE = Rank()
"""The only process of a run."""


@dataclass(frozen=True)
class OwnStream:
    """Further samples in every step, which an add-on draws for itself from the labeled images or from the pool."""

    views: Mapping[str, str]
    """Name of the view -> augmentation spec."""
    pool: Literal["labeled", "unlabeled"] = "labeled"
    ratio: float = 1.0
    """Samples of a step for each labeled one of the run's own."""
    balanced: bool = False
    """Every class equally often, whatever their numbers of images; otherwise every image. Of labeled images alone."""
    draws: Mapping[str, int] = field(default_factory=dict)
    """Random numbers for each sample, as in `Views`."""

    def __post_init__(self) -> None:
        if self.balanced and self.pool != "labeled":
            raise ValueError("OwnStream: the classes of the pool are not known; only labeled images can be balanced")

    def size(self, labeled: int) -> int:
        """Samples of a step, for as many labeled ones of the run's own."""
        return round(self.ratio * labeled)


@dataclass(frozen=True)
class Views:
    """The augmented views that an algorithm wants of each stream: name of the view -> augmentation spec.

    An empty stream is not read at all. `draws` names the random numbers that a method needs besides its views (per
    unlabeled sample, uniform in [0, 1)): name -> how many; `labeled_draws` the same per labeled sample. `betas`
    gives those draws that follow Beta(a, a) in place of the uniform distribution: name -> a. `params` lists the views
    whose augmentation parameters the loss reads. `streams` are further ones, of add-ons alone.
    """

    labeled: Mapping[str, str] = field(default_factory=dict)
    unlabeled: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=dict)
    labeled_draws: Mapping[str, int] = field(default_factory=dict)
    betas: Mapping[str, float] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    streams: Mapping[str, OwnStream] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := sorted(self.streams.keys() & {"labeled", "unlabeled"}):
            raise ValueError(f"Views: {taken} are the run's own streams; give an add-on's another name")
        if repeated := sorted(self.draws.keys() & self.labeled_draws.keys()):
            raise ValueError(f"Views: {repeated} are drawn for both streams; give them names of their own")
        if unknown := sorted(self.betas.keys() - self.draws.keys() - self.labeled_draws.keys()):
            raise ValueError(f"Views: betas {unknown} name no draws")
        if ambiguous := sorted(set(self.params) & self.labeled.keys() & self.unlabeled.keys()):
            raise ValueError(f"Views: params {ambiguous} name views of both streams; give them names of their own")

    def joined(self, other: "Views") -> "Views":
        """These views and draws and others beside them. Raises ValueError where both use a name."""
        joined: dict[str, Any] = {"params": (*self.params, *other.params)}
        for name in ("labeled", "unlabeled", "draws", "labeled_draws", "betas", "streams"):
            own, more = getattr(self, name), getattr(other, name)
            if both := sorted(own.keys() & more.keys()):
                raise ValueError(f"Views: {name} {both} are there already; give the others names of their own")
            joined[name] = {**own, **more}
        return Views(**joined)

    @property
    def specs(self) -> tuple[str, ...]:
        """Every augmentation once, in order."""
        streams = (self.labeled, self.unlabeled, *(stream.views for stream in self.streams.values()))
        return tuple(dict.fromkeys(spec for views in streams for spec in views.values()))


class Samples(NamedTuple):
    """What a step reads of an `OwnStream`; N samples of this rank and micro-batch."""

    views: dict[str, Tensor]
    """uint8 [N, 3, H, W]."""
    y: Tensor
    """Labels [N], -1 in the pool."""
    position: Tensor
    """Of each sample in the labeled set or the pool [N]."""
    draws: dict[str, Tensor]
    """float32 [N, n]."""


class Batch(NamedTuple):
    """One micro-batch on the device. Images are uint8 [N, 3, H, W], channels_last; indices are int64.

    A stream that the algorithm has no view of gives an empty dict and index tensors of length 0.
    """

    x: dict[str, Tensor]
    """Labeled views, each [B, 3, H, W]."""
    y: Tensor
    """Labels [B]."""
    x_index: Tensor
    """Position of each labeled sample in the labeled set [B]."""
    u: dict[str, Tensor]
    """Unlabeled views, each [U, 3, H, W]."""
    u_index: Tensor
    """Position of each unlabeled sample in the pool [U]."""
    u_true: Tensor
    """True class of the unlabeled samples [U], -1 where unknown. For metrics only, never for a loss."""
    u_key: Tensor
    """A random key of each unlabeled sample [U], another one each time it is drawn; see `semisonic_kernels.noise`."""
    draws: dict[str, Tensor]
    """The random numbers that `Views` asked for: float32 [U, n] or [B, n]."""
    params: dict[str, dict[str, Tensor]]
    """The augmentation parameters of the views named in `Views.params` (warp matrices, ...), each [N, ...]."""
    streams: dict[str, Samples] = {}
    """The streams of add-ons."""
    part: tuple[Tensor, ...] = ()
    """Which micro-batch of the step it is, from 0 on: 0-d int64. Empty where it is the only one."""


class Seen(NamedTuple):
    """What the network made of a view that was not mixed with others, in the step's own forward; N samples."""

    logits: Tensor
    """Of the network's own head, float32 [N, C]."""
    features: Tensor
    """The head's input [N, D]."""
    targets: Tensor | None = None
    """What they are trained towards: labels int64 [N] or probabilities [N, C]. None: nothing."""
    mask: Tensor | None = None
    """How much each sample counts, 0..1 [N]. None: all count."""
    unlabeled: Tensor | None = None
    """Logits [U, C] of the step's unlabeled images, where these N are others whose labels are guessed as theirs are.
    None: these are they."""


def parted(seen: Seen, count: int) -> tuple[Seen, Seen]:
    """The first samples of a view, and the others."""
    logits, features = seen.logits, seen.features
    return Seen(logits[:count], features[:count]), Seen(logits[count:], features[count:])


SEEN = ("labeled", "guessed", "trained")
"""Views that a method of pseudo-labels sees: those of `monitoring.seen_by`."""


class Guess(NamedTuple):
    """What a method takes for the labels of unlabeled samples; detached."""

    logits: Tensor
    """What they were guessed from [U, C], as add-ons have changed it."""
    confidence: Tensor
    """The largest probability [U]."""
    labels: Tensor
    """The most probable class of each, int64 [U]."""
    mask: Tensor
    """How much each counts, 0..1 [U]."""
    targets: Tensor
    """What is trained towards: the labels, or probabilities [U, C]."""


class StepOutput(NamedTuple):
    loss: Tensor
    """Scalar; a mean over the rank's share of the global batch, so that the mean over ranks is the global loss."""
    metrics: dict[str, Tensor]
    """Detached scalars, or vectors [K], averaged over micro-batches, ranks and steps before they are logged."""
    observed: dict[str, Tensor]
    """Detached tensors that `update` needs: [N, ...] are gathered over micro-batches and ranks in global-sample order,
    0-d ones averaged."""
    seen: Mapping[str, Seen] = {}
    """For add-ons, never leaving the forward: "labeled", "guessed" and "trained" views, as `Algorithm.sees` says."""


@dataclass(frozen=True)
class Info:
    """What an algorithm may know about the run when it sets up its state."""

    classes: int
    image_size: int
    labeled: int
    """Size of the labeled set."""
    unlabeled: int
    """Size of the unlabeled pool."""
    steps: int
    labeled_batch: int
    """Global."""
    unlabeled_batch: int
    """Global."""
    class_prior: tuple[float, ...]
    """Class frequencies of the labeled set, [C]."""
    mean: tuple[float, float, float]
    """Per channel, on the 0..1 scale."""
    std: tuple[float, float, float]

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Labeled images of every class, [C]."""
        return tuple(round(share * self.labeled) for share in self.class_prior)


@dataclass(frozen=True)
class Preprocessing:
    """How images must be shown to a network that starts from weights: as those were trained."""

    mean: tuple[float, float, float]
    """Per channel, on the 0..1 scale."""
    std: tuple[float, float, float]
    source: str
    """Whose it is, for messages: "the weights of resnet50"."""
    size: int | None = None
    """Side of the images that the weights were trained on, in pixels; None: any."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop: float | None = None
    """Share of the shorter side that an evaluation shows, around the center. None: as runs from random weights have
    it, 0.875 in whole pixels."""

    def __post_init__(self) -> None:
        if any(len(part) != 3 or not all(map(math.isfinite, part)) for part in (self.mean, self.std)):
            raise ValueError(f"Preprocessing: mean {self.mean} and std {self.std} must be three finite numbers each")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"Preprocessing: std {self.std} must be above 0")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ValueError(f"Preprocessing: crop {self.crop} must be a share above 0, at most 1")
        if self.size is not None and self.size < 1:
            raise ValueError(f"Preprocessing: size {self.size} must be at least 1 pixel")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"Preprocessing: interpolation {self.interpolation!r} must be bilinear or bicubic")


class Engine(Protocol):
    """One role's module and its optimizer, as `Algorithm.train_step` uses them."""

    def __call__(self, *args: Any) -> Any:
        """The module's forward, wrapped (DDP, DeepSpeed, compiled); one `backward` must follow before the next call.
        Under `torch.no_grad` the module's own (compiled), as often as is wanted.
        """
        ...

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch: gradients are reduced over the ranks with the last one."""
        ...

    def backward(self, loss: Tensor) -> None: ...

    def step(self) -> None:
        """Clips (if asked), steps the optimizer and zeroes the gradients."""
        ...


class BareEngine:
    """An engine without ranks and without an optimizer: forward and backward in this process, and no more."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __call__(self, *args: Any) -> Any:
        return self.module(*args)

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        """There is nothing to step."""


class Runner:
    """What a step is taken with: `run[role]` is the engine of a role.

    micro: micro-batches of a step. mean: the mean of a detached tensor over the ranks; by default there is one rank.
    """

    def __init__(
        self, engines: Mapping[str, Engine], micro: int = 1, mean: Callable[[Tensor], Tensor] = lambda value: value
    ):
        self.engines, self.micro, self._mean = engines, micro, mean

    def __getitem__(self, role: str) -> Engine:
        return self.engines[role]

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """Proportional micro-batches of all streams, in order."""
        return cut(batch, self.micro)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the ranks, detached; for use outside the wrapped modules."""
        return self._mean(value.detach())


def cut(batch: Batch, count: int) -> list[Batch]:
    """Equal micro-batches of a rank's share, in order; each has its part of both streams."""
    if count == 1:
        return [batch]
    cuts = [tree_map(lambda value, k=k: value.tensor_split(count)[k], batch) for k in range(count)]
    # Filled, not copied from the host: a CUDA graph may hold it.
    parts = [torch.full((), k, dtype=torch.int64, device=batch.y.device) for k in range(count)]
    return [micro._replace(part=(part,)) for micro, part in zip(cuts, parts, strict=True)]


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
