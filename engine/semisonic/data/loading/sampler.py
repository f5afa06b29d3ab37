"""Which samples a step reads: a pure function of the step and the rank, so resuming is setting the step.

The training samples of a stream stand in one global order: epoch after epoch, each a fresh shuffle of all of them
without replacement. Step t reads positions t*batch to (t+1)*batch - 1, cut into micro-batches, of each of which rank r
takes the r-th share: a micro-batch holds the same samples at every world size. Of a batch that grows, step t reads as
many as `sizes` say, after those of all steps before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from semisonic.contract import ALONE, Rank
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.sizes import Sizes


class Sampler(Protocol):
    """What a stream reads, as positions among its images."""

    @property
    def share(self) -> int:
        """Samples of this rank in a step, at most."""
        ...

    def shares(self, step: int, count: int) -> list[int]:
        """Samples of this rank in each of `count` steps."""
        ...

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        """Global numbers of the rank's samples of `count` steps, which key their random numbers: they ascend.

        int64 [samples of these steps].
        """
        ...

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        """Positions of the rank's samples of `count` steps among the stream's images: int64, as many."""
        ...


@dataclass(frozen=True)
class TrainingSampler:
    """Epochs without end, each in an order of its own."""

    draws: Draws
    size: int
    """Number of images of an epoch."""
    batch: int
    """Global batch size; of one that grows the largest."""
    rank: Rank = ALONE
    micro: int = 1
    """Micro-batches of a step."""
    sizes: Sizes | None = None
    """Global batch sizes by step; None: always `batch`."""
    _order: Callable[[int], np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The epochs of the dozen steps that are prepared together: many where they are smaller than the batch.
        epochs = 4 + 12 * self.batch // self.size
        draws, size = self.draws, self.size
        object.__setattr__(self, "_order", lru_cache(epochs)(lambda epoch: draws.permutation("order", epoch, size)))

    @property
    def share(self) -> int:
        return self.batch // self.rank.world_size

    def shares(self, step: int, count: int) -> list[int]:
        return [size // self.rank.world_size for _, steps, size in self._sizes.runs(step, count) for _ in range(steps)]

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        """Micro-batch after micro-batch."""
        sizes = self._sizes
        runs = [self._numbers(sizes.before(first), steps, size) for first, steps, size in sizes.runs(step, count)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    @property
    def _sizes(self) -> Sizes:
        return self.sizes or Sizes.constant(self.batch)

    def _numbers(self, first: int, count: int, batch: int) -> np.ndarray:
        """The same of steps of one size, of which the first one's samples begin with this number."""
        part = batch // self.rank.world_size // self.micro
        steps = first + np.arange(count)[:, None, None] * batch
        parts = (np.arange(self.micro)[:, None] * self.rank.world_size + self.rank.rank) * part
        return (steps + parts + np.arange(part)).ravel()

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        numbers = self.numbers(step, count)
        first, last = int(numbers[0]) // self.size, int(numbers[-1]) // self.size
        if first == last:
            return self._order(first)[numbers - first * self.size]
        bounds = np.searchsorted(numbers, np.arange(first + 1, last + 1) * self.size)
        parts = zip(range(first, last + 1), np.split(numbers, bounds), strict=True)
        return np.concatenate([self._order(epoch)[part - epoch * self.size] for epoch, part in parts if len(part)])


@dataclass(frozen=True)
class BalancedSampler(TrainingSampler):
    """Every class equally often: of as many samples in a row as there are classes, one is of each, in a random order.

    The images of a class come epoch after epoch, each in an order of its own. A pure function of the sample's number,
    as its base is.
    """

    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), compare=False)
    """Of the images of an epoch, int64 [size]."""
    _members: tuple[np.ndarray, ...] = field(init=False, repr=False, compare=False)
    """Of each class that there is, the positions of its images."""
    _order_of: Callable[[int, int], np.ndarray] = field(init=False, repr=False, compare=False)
    _turn: Callable[[int], np.ndarray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        draws, members = self.draws, tuple(np.flatnonzero(self.labels == c) for c in np.unique(self.labels))
        object.__setattr__(self, "_members", members)

        @lru_cache(4 * len(members) + 64)
        def order(member: int, epoch: int) -> np.ndarray:
            return draws.permutation(f"order/{member}", epoch, len(members[member]))

        object.__setattr__(self, "_order_of", order)
        object.__setattr__(self, "_turn", lru_cache(64)(lambda n: draws.permutation("class", n, len(members))))

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        return np.array([self._index(int(number)) for number in self.numbers(step, count)], np.int64)

    def _index(self, number: int) -> int:
        turn, place = divmod(number, len(self._members))
        member = int(self._turn(turn)[place])
        images = self._members[member]
        epoch, rank = divmod(turn, len(images))
        return int(images[self._order_of(member, epoch)[rank]])


@dataclass(frozen=True)
class EvaluationSampler:
    """Every image once, in order; beyond the last one it is repeated, so that all steps are of one size."""

    size: int
    """Number of images."""
    share: int
    """Images of a rank in a step."""
    rank: Rank = ALONE

    @property
    def steps(self) -> int:
        """After which every image was read."""
        return -(-self.size // (self.share * self.rank.world_size))

    def shares(self, step: int, count: int) -> list[int]:
        return [self.share] * count

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        steps = np.arange(step, step + count)[:, None] * self.rank.world_size + self.rank.rank
        return (steps * self.share + np.arange(self.share)).ravel()

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        return np.minimum(self.numbers(step, count), self.size - 1)

    def valid(self, step: int) -> np.ndarray:
        """Which samples of a step are no repetitions: bool [share]."""
        return self.numbers(step) < self.size
