"""BatchNorm over the global batch; only the tracking forward of a step moves its running statistics."""

from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semisonic_kernels.sync_batch_norm import batch_norm

_track = True
_again = False
_running = False
_start_up: Tensor | None = None


@dataclass(frozen=True)
class StartUp:
    """How much a batch counts in running statistics that start afresh, wherever that is more than their momentum."""

    window: float
    """w in w / (t + w) after t steps: from then on about the last t / w of them count."""
    micro: int = 1
    """Micro-batches of a step: together they count as much as the step's whole batch would, the later ones the more, as
    by a momentum; of the first step, the last one alone."""

    def weight(self, step: Tensor) -> Tensor:
        """That of a forward after so many steps (0-d): a 0-d float64 tensor, 1 at the first step."""
        weight = self.window / (step.double() + self.window)
        return weight if self.micro == 1 else 1 - (1 - weight) ** (1 / self.micro)


class batch_statistics:
    """Inside `with batch_statistics(track=False)`, layers in training mode use the statistics of the batch as
    always, but leave running_mean, running_var and num_batches_tracked alone. Traces into one compiled graph.

    start_up: where they track, layers with `start_up` move theirs by this weight (0-d) if it is above their momentum.
    """

    def __init__(self, track: bool, start_up: Tensor | None = None):
        self.track, self.start_up = track, start_up
        self.outside: list[tuple[bool, Tensor | None]] = []

    def __enter__(self) -> None:
        global _track, _start_up
        self.outside.append((_track, _start_up))
        _track, _start_up = self.track, self.start_up

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _track, _start_up
        _track, _start_up = self.outside.pop()


class running_statistics:
    """Inside `with running_statistics():`, layers in training mode normalize by their running statistics, as they do in
    evaluation, and leave them alone. Traces into one compiled graph.
    """

    def __init__(self) -> None:
        self.outside: list[bool] = []

    def __enter__(self) -> None:
        global _running
        self.outside.append(_running)
        _running = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _running
        _running = self.outside.pop()


class computed_again:
    """Around a forward that autograd runs once more in the backward (torch.utils.checkpoint). Made at the first
    forward, whose tracking it repeats, but the running statistics that move are copies: they move once, and the two
    forwards save the same tensors, as they must.
    """

    def __init__(self) -> None:
        self.track, self.start_up = _track, _start_up
        self.outside: list[tuple[bool, bool, Tensor | None]] = []

    def __enter__(self) -> None:
        global _track, _again, _start_up
        self.outside.append((_track, _again, _start_up))
        _track, _again, _start_up = self.track, True, self.start_up

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _track, _again, _start_up
        _track, _again, _start_up = self.outside.pop()


_groups: dict[int, tuple[dist.ProcessGroup | None, dist.ProcessGroup]] = {}
"""Number of groups -> the ranks that they divide, and this rank's. A layer that kept its own could not be copied."""


def make_groups(count: int, timeout: timedelta | None = None) -> None:
    """Makes `count` equal groups of consecutive ranks, for layers with so many `groups`; every rank must call it.

    timeout: of their messages; None is torch's. Raises ValueError where they do not divide the ranks.
    """
    size, rest = divmod(dist.get_world_size(), count)
    if rest:
        raise ValueError(f"{dist.get_world_size()} ranks do not divide into {count} equal groups")
    made: list[Any] = [dist.new_group(range(first, first + size), timeout) for first in range(0, count * size, size)]
    _groups[count] = dist.group.WORLD, made[dist.get_rank() // size]


def group_of(count: int) -> dist.ProcessGroup | None:
    """This rank's of so many groups; all ranks for 1. Raises RuntimeError where `make_groups` was not called."""
    if count == 1:
        return dist.group.WORLD
    world, group = _groups.get(count, (None, None))
    if group is None or world is not dist.group.WORLD:
        raise RuntimeError(f"a BatchNorm of {count} groups of ranks: make_groups({count}) was not called")
    return group


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the same state_dict, normalizing by the statistics of all ranks' batches.

    Where no process group is initialized, or `sync` is False, the statistics are those of this rank's batch.
    In training every rank must hold a batch of the same shape.
    slope: an activation in the same pass, the factor of negative values: leaky ReLU, 0 is ReLU, None nothing.
    """

    sync: bool = True
    groups: int = 1
    """Groups of ranks, each with statistics of its own."""
    start_up: bool = False
    """Whether its running statistics start afresh, so that `batch_statistics` may say how much a batch counts."""
    momentum: float

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        slope: float | None = None,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.slope = slope

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.slope is None else f", slope={self.slope}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        learning = self.training and not _running
        training = learning or self.running_mean is None
        tracked = _track or not learning
        mean, var = (self.running_mean, self.running_var) if tracked else (None, None)
        if learning and _again:
            mean, var = (None if value is None else value.clone() for value in (mean, var))
        elif learning and _track and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        momentum: float | Tensor = self.momentum
        if self.start_up and _start_up is not None:
            momentum = _start_up.clamp(min=momentum)
        return batch_norm(
            input,
            self.weight,
            self.bias,
            mean,
            var,
            momentum,
            self.eps,
            training,
            group_of(self.groups) if self.sync and training and dist.is_initialized() else None,
            self.slope,
        )


class BatchNorm1d(BatchNorm2d):
    """The same of features [N, C]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 2:
            raise ValueError(f"BatchNorm1d takes features [N, C], not {list(input.shape)}")


def is_fresh(layer: nn.BatchNorm2d) -> bool:
    """Whether a layer has running statistics, and these are a new layer's. Reads them on the host."""
    mean, var = layer.running_mean, layer.running_var
    return mean is not None and var is not None and not mean.any() and bool((var == 1).all())


def convert_batch_norm(
    module: nn.Module, momentum: float | None = None, eps: float | None = None, sync: bool = True, groups: int = 1
) -> nn.Module:
    """Replaces every nn.BatchNorm2d inside by ours, in place, with the same tensors and state_dict keys.

    momentum, eps: None keeps each layer's own. sync, groups: as in `BatchNorm2d`. Returns the module, or its
    replacement where it is itself a layer. Raises ValueError for a layer with momentum None (cumulative
    average), whose weight would change every step, and for a kind of BatchNorm2d with a forward of its own.
    """
    if isinstance(module, nn.BatchNorm2d):
        return _converted(module, momentum, eps, sync, groups)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    replacements = {layer: _converted(layer, momentum, eps, sync, groups) for layer in layers}
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, nn.BatchNorm2d):
                parent._modules[name] = replacements[child]
    return module


Layer = TypeVar("Layer", bound=BatchNorm2d)


def taken_over(layer: nn.BatchNorm2d, kind: type[Layer]) -> Layer:
    """A layer of ours with the tensors, numbers and mode of another one."""
    made = kind(
        layer.num_features, affine=layer.affine, track_running_stats=layer.track_running_stats, device="meta"
    )  # fmt: skip
    made._parameters, made._buffers = layer._parameters, layer._buffers
    made.train(layer.training)
    made.eps, made.momentum = layer.eps, layer.momentum  # type: ignore[assignment]
    return made


def _converted(
    layer: nn.BatchNorm2d, momentum: float | None, eps: float | None, sync: bool, groups: int
) -> BatchNorm2d:
    momentum = layer.momentum if momentum is None else momentum
    if momentum is None:
        raise ValueError("a BatchNorm2d has momentum None (cumulative average); give it a number")
    if not isinstance(layer, BatchNorm2d):
        if type(layer).forward is not nn.BatchNorm2d.forward:
            raise ValueError(f"{type(layer).__name__} is a BatchNorm2d with a forward of its own, which is not known")
        layer = taken_over(layer, BatchNorm2d)
    layer.momentum, layer.sync, layer.groups = momentum, sync, groups
    layer.eps = layer.eps if eps is None else eps
    return layer
