"""Which samples a step reads: a pure function of (seed, stream, step, rank), so resuming is setting the step.

The samples of a stream stand in one global order: epoch after epoch, each a fresh shuffle of the whole pool without
replacement. Step t reads positions t*batch to (t+1)*batch - 1, and rank r the r-th contiguous share of them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from semisonic.data import draws

_epoch_order = lru_cache(maxsize=8)(draws.permutation)


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

    def first(self, step: int) -> int:
        """Global number of the rank's first sample of the step."""
        return step * self.batch + self.rank * self.share

    @property
    def share(self) -> int:
        """Samples of one rank in a step."""
        return self.batch // self.world_size

    def indices(self, step: int) -> np.ndarray:
        """Positions in the pool of the rank's samples of the step: int64 [share]."""
        numbers = np.arange(self.first(step), self.first(step) + self.share)
        epochs, offsets = np.divmod(numbers, self.pool)
        result = np.empty(self.share, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = _epoch_order(self.seed, f"order/{self.stream}/{epoch}", self.pool)
            result[epochs == epoch] = order[offsets[epochs == epoch]]
        return result
