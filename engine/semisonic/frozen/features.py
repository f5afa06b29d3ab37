"""Features of a run's images by the network at its starting weights: one pass in evaluation mode, in ranks.

Legend: N images, D values of a feature, W ranks, B images of a slice. Every slice holds the same images on any number
of ranks, so that the features are the same to the bit on the CPU.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.contract import Rank
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import ImageSource
from semisonic.data.loading.loader import evaluation_slices
from semisonic.distributed.heartbeat import Activity, Phase
from semisonic.faults import reach
from semisonic.training.metrics import evaluation_mode

EVERY = 10.0
"""Seconds between two lines of progress."""


class Halted(Exception):
    """A run is to stop while its features are made; its text says why, as `Trainer.train` would."""


def _nothing(text: str) -> None:
    pass


def _never() -> str | None:
    return None


@dataclass(frozen=True)
class Work:
    """How a run's ranks go about it."""

    rank: Rank
    placement: Placement
    batch: int
    """Images of a rank in a forward: B."""
    activity: Activity = field(default_factory=Activity)
    stop: Callable[[], str | None] = _never
    """Why to stop now; None to go on."""
    say: Callable[[str], None] = _nothing


@dataclass(eq=False)
class Rows:
    """Features of images by their numbers, as far as they are made."""

    index: np.ndarray
    """int64 [N], ascending: which images of the training, or of the test images."""
    values: np.ndarray
    """float16 [N, D], each row of length 1; memory: 2 N D bytes. All zero where the network gives only zeros."""

    def places(self, wanted: np.ndarray) -> np.ndarray:
        """int64: where each of `wanted` stands in `index`; -1 where it does not."""
        if not len(self.index):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self.index, wanted), len(self.index) - 1)
        return np.where(self.index[found] == wanted, found, -1)

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """float16 [len(wanted), D]. Raises `KeyError` where one is missing."""
        places = self.places(wanted)
        if (places < 0).any():
            raise KeyError(f"no features of image {wanted[places < 0][0]}")
        return self.values[places]

    def joined(self, other: "Rows") -> "Rows":
        """Both, of images that neither or one of them has; where both have one, this one's."""
        new = self.places(other.index) < 0
        index = np.concatenate([self.index, other.index[new]])
        order = np.argsort(index, kind="stable")
        return Rows(index[order], np.concatenate([self.values, other.values[new]])[order])


@contextmanager
def _extracting(algorithm: Algorithm, device: torch.device) -> Iterator[None]:
    """The algorithm on a device, in evaluation mode."""
    algorithm.to(device)
    with evaluation_mode(algorithm), torch.no_grad():
        yield


def extract(algorithm: Algorithm, source: ImageSource, work: Work) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(positions in `source` int64 [n], features float16 [n, D]) of its images, on rank 0; other ranks get none.

    All ranks must exhaust it, and all raise `Halted` where one of them is to stop.
    """
    rank, size = work.rank, len(source)
    progress = Progress(size, work.say)
    with (
        _extracting(algorithm, work.placement.device),
        closing(evaluation_slices(source, work.batch, work.placement, rank)) as slices,
    ):
        for step, (images, _, _) in enumerate(work.activity.each(Phase.EVALUATING, slices)):
            reach("evaluation")
            (features_BD,) = algorithm.features(images, module="network", track=False)
            # In float32: half precision has no numbers as large as some networks' features.
            found = _of_ranks(F.normalize(features_BD.float(), dim=-1).half(), work)
            first = step * work.batch * rank.world_size
            positions = np.arange(first, min(first + len(found), size))
            if rank.is_main:
                yield positions, found[: len(positions)].cpu().numpy()
                progress.add(len(positions))


def _of_ranks(features_BD: Tensor, work: Work) -> Tensor:
    """Those of all ranks in the order of their slices, [W B, D]. Raises `Halted` on all ranks where one is to stop."""
    reason = work.stop()
    if work.rank.world_size == 1:
        if reason:
            raise Halted(reason)
        return features_BD
    said: list[str | None] = [None] * work.rank.world_size
    parts = [torch.empty_like(features_BD) for _ in said]
    dist.all_gather(parts, features_BD)
    dist.all_gather_object(said, reason)
    if stopped := next(filter(None, said), None):
        raise Halted(stopped)
    return torch.cat(parts)


class Progress:
    """A line with the time left, now and then."""

    def __init__(self, total: int, say: Callable[[str], None]):
        self.total, self.say, self.done = total, say, 0
        self.begin = self.last = time.monotonic()

    def add(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        self.last = now
        rate = self.done / (now - self.begin)
        left = timedelta(seconds=round((self.total - self.done) / rate))
        self.say(f"features: {self.done:,}/{self.total:,} images  {rate:,.0f} images/s  ETA {left}")
