"""Keys for the random numbers of a network's layers: of each row of a forward, by its place in the step's global batch.

    key = hash(run, step; phase and number of the forward; view, place)

A view's rows are a share of the step's: in micro-batch k, the n rows of rank r of W have the places (kW + r) n to
(kW + r + 1) n - 1. What is drawn then depends neither on ranks nor on micro-batches, nor on a restart.
Shape suffixes: N rows of a forward.
"""

from collections.abc import Sequence
from types import TracebackType

import torch
from torch import Tensor

from semisonic.contract import Batch
from semisonic.models.randomness import salt
from semisonic_kernels.noise import mixed

VIEW_BITS = 32
"""The place of a row is below 2 to this."""

_phase: "phase | None" = None


class phase:
    """Around what a role does with a micro-batch: its forwards are numbered, from 0 on, and know the micro-batch.

    Forwards of one name, number and step draw the same numbers. Traces into one compiled graph.
    """

    def __init__(self, name: str, batch: Batch):
        self.name, self.part = name, batch.part
        self.forwards = 0
        self.outside: list[phase | None] = []

    def __enter__(self) -> None:
        global _phase
        self.outside.append(_phase)
        _phase = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _phase
        _phase = self.outside.pop()


def row_keys(run: Tensor, step: Tensor, share: Tensor, rows: Sequence[int]) -> Tensor | None:
    """The keys of the next forward of the phase, int64 [N]; None outside of any, and where there are no rows.

    run: a key of the run, 0-d. step: 0-d. share: the rank and the number of ranks [2], all int64 on the device.
    rows: of each view that the forward's images consist of, in order.
    """
    if _phase is None or not sum(rows):
        return None
    number, _phase.forwards = _phase.forwards, _phase.forwards + 1
    rank, ranks = share.unbind()
    for part in _phase.part:
        rank = rank + part * ranks
    counters = [
        (rank * count + torch.arange(count, device=share.device)) + (view << VIEW_BITS)
        for view, count in enumerate(rows)
    ]
    return mixed(mixed(run, step) ^ salt(f"{_phase.name} {number}"), torch.cat(counters))
