"""How many samples each step reads of a stream: one number, or one that grows over the run in a few stages.

    c(p) = 1 - (1 - p) / ((1 - bend) + bend (1 - p)),   p = t / (T - 1)
    size = largest / stages * max(1, stages c(p) rounded)

from step t = 0 of T on: the first steps read `largest / stages`, the last one reads `largest`. bend 0 is a straight
line; the nearer to 1, the longer the batch stays small. All follows from the configuration and the step alone, so that
a restart knows how many samples earlier steps have read, and ranks and micro-batches change nothing. Few sizes mean few
compiled graphs.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Self

MOST_STAGES = 8
"""Sizes that a batch may grow through: each costs a compilation."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the batches of a stream, over all ranks together, by step."""

    starts: tuple[int, ...]
    """First step of every stage, from 0 on, ascending."""
    sizes: tuple[int, ...]
    """Samples of a step in it; none is smaller than the one before."""

    @classmethod
    def constant(cls, size: int) -> Self:
        return cls((0,), (size,))

    @classmethod
    def growing(cls, largest: int, stages: int, bend: float, steps: int) -> Self:
        """As above; `stages` must divide `largest`. Runs of few steps leave stages out, never the last."""
        starts = [0]
        for stage in range(2, stages + 1):
            missing = 1 - (stage - 0.5) / stages
            left = missing * (1 - bend) / (1 - missing * bend)  # 1 - p at which c(p) is rounded to this stage
            starts.append(math.ceil((1 - left) * (steps - 1)))
        chosen = [k for k in range(stages) if k + 1 == stages or starts[k] < starts[k + 1]]
        return cls(tuple(starts[k] for k in chosen), tuple(largest // stages * (k + 1) for k in chosen))

    @cached_property
    def _read(self) -> tuple[int, ...]:
        """Samples of all steps before every stage."""
        lengths = (after - start for start, after in zip(self.starts, self.starts[1:], strict=False))
        return tuple(accumulate((size * n for size, n in zip(self.sizes, lengths, strict=False)), initial=0))

    @property
    def largest(self) -> int:
        return self.sizes[-1]

    @property
    def smallest(self) -> int:
        return self.sizes[0]

    def _stage(self, step: int) -> int:
        return bisect_right(self.starts, step) - 1

    def of(self, step: int) -> int:
        """Samples that a step reads; 0 is the first."""
        return self.sizes[self._stage(step)]

    def before(self, step: int) -> int:
        """Samples that all steps before it read: the number of its first one in the stream's order."""
        stage = self._stage(step)
        return self._read[stage] + (step - self.starts[stage]) * self.sizes[stage]

    def runs(self, step: int, count: int) -> Iterator[tuple[int, int, int]]:
        """`count` steps from this one on, in parts of one size each: (first step, steps, size)."""
        stop = step + count
        while step < stop:
            stage = self._stage(step)
            after = self.starts[stage + 1] if stage + 1 < len(self.starts) else stop
            end = min(stop, after)
            yield step, end - step, self.sizes[stage]
            step = end
