"""Exponential moving average of many tensors at once."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(averages: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor) -> None:
    """In place, for every pair: average <- average + weight * (source - average).

    averages: floating tensors of any shapes, usually float32. sources: as many floating tensors of the same
    shapes, of any floating dtype; the difference is taken in the dtype of the average.
    weight: 0-d floating tensor, 1 - decay, on the averages' device or the CPU. Nothing waits for the device.
    Raises ValueError where counts, shapes, dtypes or devices do not fit.
    """
    _check(averages, sources, weight)
    for dtype in {average.dtype for average in averages}:
        pairs = [(a, s) for a, s in zip(averages, sources, strict=True) if a.dtype == dtype]
        group = [average for average, _ in pairs]
        targets = _cast([source for _, source in pairs], group)
        if weight.device.type == "cpu":
            torch._foreach_lerp_(group, targets, weight.item())
        else:
            lerp_by_tensor(group, targets, weight)


def lerp_by_tensor(averages: list[Tensor], targets: list[Tensor], weight: Tensor) -> None:
    """`torch._foreach_lerp_` with a 0-d tensor as weight, which on a GPU must not be read; one dtype."""
    steps = torch._foreach_sub(targets, averages)
    torch._foreach_mul_(steps, weight.to(averages[0].dtype))
    torch._foreach_add_(averages, steps)


@torch.no_grad()
def ema_update_reference(averages: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor) -> None:
    """`ema_update`, one tensor after the other in plain torch."""
    _check(averages, sources, weight)
    for average, source in zip(averages, sources, strict=True):
        average += weight.to(average.dtype) * (source.to(average.dtype) - average)


def _cast(sources: list[Tensor], averages: list[Tensor]) -> list[Tensor]:
    """The sources in the dtype of the averages; in one launch where a cast is needed."""
    if all(a.dtype == s.dtype for a, s in zip(averages, sources, strict=True)):
        return sources
    cast = [torch.empty_like(average) for average in averages]
    torch._foreach_copy_(cast, sources)
    return cast


def _check(averages: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor) -> None:
    if len(averages) != len(sources):
        raise ValueError(f"ema_update: {len(averages)} averages but {len(sources)} sources")
    if weight.dim() or not weight.is_floating_point():
        raise ValueError(f"ema_update: weight must be a 0-d floating tensor, not {weight.dtype} {list(weight.shape)}")
    for position, (average, source) in enumerate(zip(averages, sources, strict=True)):
        if average.shape != source.shape:
            raise ValueError(
                f"ema_update: average {list(average.shape)} and source {list(source.shape)} differ in shape "
                f"at position {position}"
            )
        if not (average.is_floating_point() and source.is_floating_point()):
            raise ValueError(
                f"ema_update: only floating tensors can be averaged, not {average.dtype} and {source.dtype} "
                f"at position {position}"
            )
        if average.device != source.device or weight.device not in (average.device, torch.device("cpu")):
            raise ValueError(
                f"ema_update: average on {average.device}, source on {source.device} and weight on "
                f"{weight.device} at position {position}"
            )
