"""What algorithms, data and training agree on: the views of a batch, a step's output, and who updates what.

Shape suffixes: B labeled batch, U unlabeled batch, C classes, H height, W width, D features.
All batch sizes here are those of one rank and one micro-batch. This module imports torch alone.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

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
class Views:
    """The augmented views that an algorithm wants of each stream: name of the view -> augmentation spec.

    An empty stream is not read at all. `draws` names the random numbers that a method needs besides its views (per
    unlabeled sample, uniform in [0, 1)): name -> how many; `labeled_draws` the same per labeled sample. `betas`
    gives those draws that follow Beta(a, a) in place of the uniform distribution: name -> a. `params` lists the views
    whose augmentation parameters the loss reads.
    """

    labeled: Mapping[str, str] = field(default_factory=dict)
    unlabeled: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, int] = field(default_factory=dict)
    labeled_draws: Mapping[str, int] = field(default_factory=dict)
    betas: Mapping[str, float] = field(default_factory=dict)
    params: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if repeated := sorted(self.draws.keys() & self.labeled_draws.keys()):
            raise ValueError(f"Views: {repeated} are drawn for both streams; give them names of their own")
        if unknown := sorted(self.betas.keys() - self.draws.keys() - self.labeled_draws.keys()):
            raise ValueError(f"Views: betas {unknown} name no draws")
        if ambiguous := sorted(set(self.params) & self.labeled.keys() & self.unlabeled.keys()):
            raise ValueError(f"Views: params {ambiguous} name views of both streams; give them names of their own")


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
