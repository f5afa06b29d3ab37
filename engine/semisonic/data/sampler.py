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
        # The epochs that the steps in flight touch: many where the pool is smaller than the batch.
        epochs = 2 + 4 * (self.batch // self.pool + 2)
        object.__setattr__(self, "_order", lru_cache(epochs)(draws.permutation))

    def numbers(self, step: int) -> np.ndarray:
        """Global numbers of the rank's samples of the step, micro-batch after micro-batch: int64 [share]."""
        part = self.share // self.micro
        first = step * self.batch + (np.arange(self.micro) * self.world_size + self.rank) * part
        return (first[:, None] + np.arange(part)).ravel()

    @property
    def share(self) -> int:
        """Samples of one rank in a step."""
        return self.batch // self.world_size

    def indices(self, step: int) -> np.ndarray:
        """Positions in the pool of the rank's samples of the step: int64 [share]."""
        epochs, offsets = np.divmod(self.numbers(step), self.pool)
        result = np.empty(self.share, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = self._order(self.seed, f"order/{self.stream}/{epoch}", self.pool)
            result[epochs == epoch] = order[offsets[epochs == epoch]]
        return result
