"""Which samples a step reads: a pure function of (seed, stream, step, rank), so resuming is setting the step.

The samples of a stream stand in one global order: epoch after epoch, each a fresh shuffle of the whole pool without
replacement. Step t reads positions t*batch to (t+1)*batch - 1, cut into micro-batches, of each of which rank r takes
the r-th share: a micro-batch holds the same samples at every world size.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from semisonic.data import draws


@dataclass(frozen=True)
class Sampler:
    seed: int
    stream: str
    pool: int
    """Number of samples in the pool."""
    batch: int
    """Global batch size."""
    rank: int = 0
    world_size: int = 1
    micro: int = 1
    """Micro-batches of a step."""
    _order: Callable[[int, str, int], np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The epochs of the dozen steps that are prepared together: many where the pool is smaller than the batch.
        epochs = 4 + 12 * self.batch // self.pool
        object.__setattr__(self, "_order", lru_cache(epochs)(draws.permutation))

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        """Global numbers of the rank's samples of `count` steps, micro-batch after micro-batch: int64 [count * share].

        They ascend.
        """
        part = self.share // self.micro
        steps = np.arange(step, step + count)[:, None, None] * self.batch
        parts = (np.arange(self.micro)[:, None] * self.world_size + self.rank) * part
        return (steps + parts + np.arange(part)).ravel()

    @property
    def share(self) -> int:
        """Samples of one rank in a step."""
        return self.batch // self.world_size

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        """Positions in the pool of the rank's samples of `count` steps: int64 [count * share]."""
        numbers = self.numbers(step, count)
        first, last = int(numbers[0]) // self.pool, int(numbers[-1]) // self.pool
        if first == last:
            return self._epoch(first)[numbers - first * self.pool]
        bounds = np.searchsorted(numbers, np.arange(first + 1, last + 1) * self.pool)
        parts = zip(range(first, last + 1), np.split(numbers, bounds), strict=True)
        return np.concatenate([self._epoch(epoch)[part - epoch * self.pool] for epoch, part in parts if len(part)])

    def _epoch(self, epoch: int) -> np.ndarray:
        return self._order(self.seed, draws.purpose("order", self.stream, epoch), self.pool)
