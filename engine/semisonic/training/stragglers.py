"""Which rank the others wait for, and what it spends its time on.

Ranks meet in the collectives of every step, so all of them seem to be as slow as the slowest, which waits the least.
Each rank therefore adds up what it does without the others, its **own time**:

    waits for data        as in `data_wait`; on a GPU while its stream stood still
    computes              CPU seconds of its main thread outside of the loader, on the CPU
    waits for a CPU core  seconds in which that thread could have run and did not (Linux tells them), on the CPU

A thread that waits in a collective of gloo's sleeps, which is none of these. On a GPU the first is all that can be
told: the device waits for the others inside NCCL's kernels, as if it worked, so a card that computes slowly is not
found.

Every half minute or so, at a step whose metrics are read anyway, the ranks exchange these over the host. A rank is
**the slowest** when its own time is so much above the median of the others that steps would be 1.2 times as fast
without the difference, at two readings in a row.
"""

import math
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from semisonic.contract import Rank

EVERY = 30.0
"""Seconds between readings, about."""
RATIO = 1.2
"""How many times as fast steps would be without what makes a rank the slowest, at least."""
PARTS = ("waits for data", "computes", "waits for a CPU core")


class Spent(NamedTuple):
    """Seconds of one rank since the last reading; those of its parts are in the order of `PARTS`."""

    whole: float
    parts: tuple[float, ...]

    @property
    def own(self) -> float:
        return sum(self.parts)


class Slowest(NamedTuple):
    rank: int
    ratio: float
    """How many times as fast steps would be if it were like the others."""
    part: str
    """In which it differs most."""
    share: float
    """Of its time."""
    others: float
    """The median of the other ranks' shares."""


def slowest(ranks: Sequence[Spent]) -> Slowest | None:
    """The rank that the others clearly wait for."""
    rank = max(range(len(ranks)), key=lambda number: ranks[number].own)
    own, others = ranks[rank], [spent for number, spent in enumerate(ranks) if number != rank]
    whole = max(spent.whole for spent in ranks)
    excess = own.own - statistics.median(spent.own for spent in others)
    # Its own time can be a little more than the whole: the clocks are several.
    ratio = whole / max(whole - excess, 0.01 * whole)
    if ratio < RATIO:
        return None
    usual = [statistics.median(spent.parts[k] for spent in others) for k in range(len(PARTS))]
    part = max(range(len(PARTS)), key=lambda k: own.parts[k] - usual[k])
    return Slowest(rank, ratio, PARTS[part], own.parts[part] / whole, usual[part] / whole)


class Stragglers:
    """Readings of the ranks of a run, of which all must take part in each.

    group: the ranks over the host; None where there is one. steps: those that are finished.
    """

    def __init__(self, rank: Rank, group: Any, device: torch.device, step: int):
        self.rank, self.group, self.on_cpu = rank, group, device.type == "cpu"
        self.step = self.due = step
        self.mark = (time.perf_counter(), 0.0, 0.0, *main_thread_seconds())
        self.suspected: int | None = None
        """The slowest rank of the last reading."""
        self.told: int | None = None
        """The slowest rank that was told of last, while it is."""

    def read(self, step: int, wait: float, busy: float) -> tuple[dict[str, float], str | None]:
        """Metrics of a slowest rank, and a line where it is another than before; mostly there is nothing to read yet.

        wait, busy: seconds that the loader has waited, and that the main thread has computed in it, in all.
        """
        if self.group is None or step < self.due:
            return {}, None
        ranks = self.exchange(self.spent(wait, busy))
        pace = max(spent.whole for spent in ranks) / max(1, step - self.step)
        self.step, self.due = step, step + max(1, math.ceil(EVERY / pace))  # the same on every rank
        found = slowest(ranks)
        before, self.suspected = self.suspected, found.rank if found else None
        if found is None:
            self.told = self.told if before is not None else None  # one good reading does not end it
            return {}, None
        if found.rank != before:
            return {}, None
        told, self.told = self.told, found.rank
        metrics = {"straggler/rank": found.rank, "straggler/slowdown": found.ratio}
        if told == found.rank:
            return metrics, None
        return metrics, (
            f"step {step:,}: rank {found.rank} is the slowest: {found.share:.0%} of its time it {found.part}, the "
            f"others {found.others:.0%}; without that, steps would be {found.ratio:.1f} times as fast"
        )

    def spent(self, wait: float, busy: float) -> Spent:
        """Of this rank since the last reading."""
        now = (time.perf_counter(), wait, busy, *main_thread_seconds())
        whole, waited, in_loader, computed, ready = (a - b for a, b in zip(now, self.mark, strict=True))
        self.mark = now
        return Spent(whole, (waited, computed - in_loader, ready) if self.on_cpu else (waited, 0.0, 0.0))

    def exchange(self, own: Spent) -> list[Spent]:
        """What every rank has spent."""
        row = torch.tensor([own.whole, *own.parts], dtype=torch.float64)
        rows = [torch.empty_like(row) for _ in range(self.rank.world_size)]
        dist.all_gather(rows, row, group=self.group)
        return [Spent(whole, tuple(parts)) for whole, *parts in (part.tolist() for part in rows)]


def main_thread_seconds() -> tuple[float, float]:
    """CPU seconds of the calling thread, and those in which it was ready without a core; 0 where nobody counts."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return time.thread_time(), int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return time.thread_time(), 0.0
