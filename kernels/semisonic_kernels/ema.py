"""Exponential moving average of many tensors at once."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from semisonic_kernels.fuse import plain
from semisonic_kernels.multi_tensor import BLOCK, Launch, laid_out_alike

TYPES = {torch.float32: tl.float32, torch.float64: tl.float64, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


class MovingAverage:
    """Averages of tensors that are updated together; shapes, dtypes and devices are checked once, here.

    averages: floating tensors of any shapes, usually float32. sources: as many floating tensors of the same shapes,
    of any floating dtype; the difference is taken in the dtype of the average. On CUDA, one launch of a Triton
    kernel for each pair of dtypes; on the CPU, and for tensors that are not laid out alike, torch's foreach
    operation. Raises ValueError where counts, shapes, dtypes or devices do not fit.
    """

    def __init__(self, averages: Sequence[Tensor], sources: Sequence[Tensor]):
        _check(averages, sources)
        self.device = averages[0].device if averages else torch.device("cpu")
        self.groups: list[tuple[list[Tensor], list[Tensor], Launch | None]] = []
        keys = [
            (average.dtype, source.dtype, self.device.type == "cuda" and laid_out_alike(average, source))
            for average, source in zip(averages, sources, strict=True)
        ]
        for key in dict.fromkeys(keys):
            group = [average for average, own in zip(averages, keys, strict=True) if own == key]
            live = [source for source, own in zip(sources, keys, strict=True) if own == key]
            launch = Launch([average.numel() for average in group], self.device) if key[2] else None
            self.groups.append((group, live, launch))

    @torch.no_grad()
    def update(self, weight: Tensor) -> None:
        """In place, for every pair: average <- average + weight * (source - average).

        weight: 0-d floating tensor, 1 - decay, on the averages' device. Nothing waits for the device.
        """
        if weight.dim() or not weight.is_floating_point() or (self.groups and weight.device != self.device):
            raise ValueError(
                f"ema: weight must be a 0-d floating tensor on {self.device}, not {weight.dtype} "
                f"{list(weight.shape)} on {weight.device}"
            )
        for averages, sources, launch in self.groups:
            if plain():
                ema_update_reference(averages, sources, weight)
            elif launch is None:
                share = weight.to(averages[0].dtype)
                torch._foreach_lerp_(averages, _cast(sources, averages), [share] * len(averages))
            else:
                lerp_launch(launch, averages, sources, weight)


def ema_update(averages: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor) -> None:
    """`MovingAverage(averages, sources).update(weight)`; keep the object where it is done more than once."""
    MovingAverage(averages, sources).update(weight)


@torch.no_grad()
def ema_update_reference(averages: Sequence[Tensor], sources: Sequence[Tensor], weight: Tensor) -> None:
    """`ema_update`, one tensor after the other in plain torch."""
    _check(averages, sources)
    for average, source in zip(averages, sources, strict=True):
        average += weight.to(average.dtype) * (source.to(average.dtype) - average)


def lerp_launch(launch: Launch, averages: list[Tensor], sources: list[Tensor], weight: Tensor) -> None:
    """`MovingAverage.update` of tensors of one pair of dtypes, laid out alike, in one launch."""
    if launch.programs:
        dtypes = TYPES[averages[0].dtype], TYPES[sources[0].dtype]
        table = launch.addresses(averages, sources)
        _lerp_kernel[(launch.programs,)](table, launch.blocks, launch.sizes, weight, *dtypes, BLOCK)


@triton.jit
def lerp(average, source, weight):
    # Of the two forms that are equal in exact arithmetic, the one whose rounding error is small; as torch.lerp.
    difference = source - average
    return tl.where(weight < 0.5, average + weight * difference, source - difference * (1 - weight))


@triton.jit
def _lerp_kernel(
    table, blocks, sizes, weight, AVERAGE: tl.constexpr, SOURCE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    program = tl.program_id(0)
    tensor, first = tl.load(blocks + 2 * program), tl.load(blocks + 2 * program + 1)
    offsets = first + tl.arange(0, BLOCK)
    inside = offsets < tl.load(sizes + tensor)
    averages = tl.load(table + 2 * tensor).to(tl.pointer_type(AVERAGE)) + offsets
    sources = tl.load(table + 2 * tensor + 1).to(tl.pointer_type(SOURCE)) + offsets
    average = tl.load(averages, mask=inside)
    source = tl.load(sources, mask=inside).to(AVERAGE)
    tl.store(averages, lerp(average, source, tl.load(weight).to(AVERAGE)), mask=inside)


def _cast(sources: list[Tensor], averages: list[Tensor]) -> list[Tensor]:
    """The sources in the dtype of the averages; in one launch where a cast is needed."""
    if sources[0].dtype == averages[0].dtype:
        return sources
    cast = [torch.empty_like(average) for average in averages]
    torch._foreach_copy_(cast, sources)
    return cast


def _check(averages: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    if len(averages) != len(sources):
        raise ValueError(f"ema: {len(averages)} averages but {len(sources)} sources")
    for position, (average, source) in enumerate(zip(averages, sources, strict=True)):
        if average.shape != source.shape:
            raise ValueError(
                f"ema: average {list(average.shape)} and source {list(source.shape)} differ in shape "
                f"at position {position}"
            )
        if average.dtype not in TYPES or source.dtype not in TYPES:
            raise ValueError(
                f"ema: only floating tensors can be averaged, not {average.dtype} and {source.dtype} "
                f"at position {position}"
            )
        if {average.device, source.device} != {averages[0].device}:
            raise ValueError(
                f"ema: average on {average.device} and source on {source.device} at position {position}, "
                f"but the first average is on {averages[0].device}"
            )
