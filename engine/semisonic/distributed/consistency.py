"""What must be equal on all ranks, and where a run first went wrong: found on the device, told with the rank's name."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from semisonic.distributed.failures import RaisedByAllRanks, format_ranks
from semisonic.faults import reach
from semisonic.models.norm import BatchNorm2d
from semisonic.schema import ExitCode

ELEMENTS = 2**22
"""Elements that are hashed at once: 8 bytes each, a few times."""

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}

MULTIPLIER = -7046029254386353131  # the golden ratio times 2^64, odd


class Diverged(RaisedByAllRanks):
    """A loss or a weight was not finite."""

    exit_code = ExitCode.DIVERGED

    def __init__(self, messages: str | Iterable[str], step: int = -1):
        """step: the first at which that was noticed, counted from 0."""
        super().__init__(messages)
        self.step = step


class RanksDiffer(RaisedByAllRanks):
    """Tensors that must be the same on all ranks are not."""

    exit_code = ExitCode.LOST


def equal_tensors(module: nn.Module, parameters: bool = True) -> dict[str, Tensor]:
    """Parameters and buffers that every rank must hold alike, by name.

    parameters=False leaves parameters out, where ranks hold parts of them. Running statistics are left out where each
    rank, or group of ranks, normalizes by its own, and so is which rank it is.
    """
    own = {
        f"{name}.{buffer}"
        for name, layer in module.named_modules()
        if isinstance(layer, BatchNorm2d) and (not layer.sync or layer.groups > 1)
        for buffer in ("running_mean", "running_var")
    } | {"rank_share"}
    found: dict[str, Tensor] = dict(module.named_parameters()) if parameters else {}
    return found | {name: buffer for name, buffer in module.named_buffers() if name not in own}


def _bits(tensor: Tensor) -> Tensor:
    """The bits of a tensor as integers of its width, flat; those wider than 8 bytes as several."""
    flat = tensor.detach().reshape(-1)
    return flat.view(INTEGERS.get(flat.element_size(), torch.int64))


def _batches(pieces: Iterable[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    """(tensor's number, bits) in lists of one dtype and at most `ELEMENTS` elements; large tensors are cut."""
    batches: dict[torch.dtype, list[tuple[int, Tensor]]] = {}
    sizes: Counter[torch.dtype] = Counter()
    for number, bits in pieces:
        for part in bits.split(ELEMENTS):
            if sizes[part.dtype] + len(part) > ELEMENTS:
                yield batches.pop(part.dtype)
                sizes[part.dtype] = 0
            batches.setdefault(part.dtype, []).append((number, part))
            sizes[part.dtype] += len(part)
    yield from batches.values()


@torch.no_grad()
def checksums(tensors: Iterable[Tensor]) -> Tensor:
    """A checksum of the bits of each tensor: int64 [T] on their device, which the host does not wait for.

    Every element counts with a weight of its position, so that exchanged values change it. A few kernels for all
    tensors of one width together.
    """
    every = list(tensors)
    if not every:
        return torch.zeros(0, dtype=torch.int64)
    device = every[0].device
    sums = torch.zeros(len(every), dtype=torch.int64, device=device)
    numbered = ((number, _bits(tensor)) for number, tensor in enumerate(every) if tensor.numel())
    for batch in _batches(numbered):
        values_N = torch.cat([bits for _, bits in batch]).long()
        weights_N = torch.arange(1, len(values_N) + 1, device=device) * MULTIPLIER
        weights_N = (weights_N ^ (weights_N >> 29)) | 1  # odd: no bit of a value is lost
        totals_N = (values_N * weights_N).cumsum(0)  # integers wrap around, in any order to the same sum
        ends = torch.tensor([len(bits) for _, bits in batch]).cumsum(0) - 1
        numbers = torch.tensor([number for number, _ in batch])
        ends_P, numbers_P = (host.to(device, non_blocking=True) for host in (ends, numbers))
        totals_P = totals_N[ends_P]
        sums.index_add_(0, numbers_P, totals_P.diff(prepend=totals_P.new_zeros(1)))
    return sums


def check_equal(tensors: dict[str, Tensor], step: int, last_good: Callable[[], str]) -> None:
    """Raises `RanksDiffer` on every rank where the tensors are not the same bits on all; waits for the device.

    It names the ranks that differ from most, or all where there is no majority. last_good: says where to go on from.
    """
    reach("comparison")
    if not dist.is_initialized() or dist.get_world_size() == 1 or not tensors:
        return
    own_T = checksums(tensors.values())
    every_WT = own_T.new_empty(dist.get_world_size(), len(own_T))
    dist.all_gather(list(every_WT.unbind()), own_T)
    rows = [tuple(row) for row in every_WT.tolist()]
    if len(set(rows)) == 1:
        return
    (common, most), *rest = Counter(rows).most_common()
    if rest[0][1] == most:
        who, common = f"{format_ranks(list(range(len(rows))))} differ from each other", rows[0]
    else:
        odd = [rank for rank, row in enumerate(rows) if row != common]
        who = f"{format_ranks(odd)} {'differs' if len(odd) == 1 else 'differ'} from the other ranks"
    wrong = [name for column, name in enumerate(tensors) if any(row[column] != common[column] for row in rows)]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise RanksDiffer(f"{who} at step {step}, in {', '.join(wrong[:3])}{more}; nothing was saved since. {last_good()}")


def check_finite(first_bad_step: Tensor, last_good: Callable[[], str]) -> None:
    """Raises `Diverged` on every rank where one has seen a bad step, naming the first step and who saw it.

    first_bad_step: this rank's, 0-d int64, -1 for none. Waits for the device.
    """
    reach("finite")
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    every_W = first_bad_step.new_empty(world_size)
    if world_size > 1:
        dist.all_gather(list(every_W.split(1)), first_bad_step.reshape(1))
    else:
        every_W.copy_(first_bad_step)
    steps = every_W.tolist()
    if max(steps) < 0:
        return
    first = min(step for step in steps if step >= 0)
    ranks = [rank for rank, step in enumerate(steps) if step == first]
    where = f" on {format_ranks(ranks)}" if len(ranks) < world_size else ""
    raise Diverged(
        f"the loss or the weights were not finite at step {first}{where}; nothing was saved since. {last_good()}; "
        "if it happens again, lower optim.lr, set optim.clip or use precision fp32",
        first,
    )
