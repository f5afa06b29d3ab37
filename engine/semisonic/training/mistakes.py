"""What an evaluation gets wrong, the surest first: they cost it nothing but a look at its own logits.

Shape suffixes: N images of a slice, C classes, K mistakes that are kept, W ranks.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from semisonic.contract import ALONE, Rank

MOST = 48
"""Mistakes that are kept."""


class Mistake(NamedTuple):
    """An image that a network takes for another class."""

    place: int
    """Among the images that were evaluated."""
    true: int
    predicted: int
    confidence: float
    """The probability of the predicted class."""


class Mistakes:
    """Hears of the slices of an evaluation in their order, and keeps the surest mistakes on the device."""

    def __init__(self, share: int, rank: Rank = ALONE, most: int = MOST):
        """share: images of a slice of one rank."""
        self.share, self.rank, self.most = share, rank, most
        self.slices = 0
        self.kept_K4: Tensor | None = None
        """(confidence, place, true class, predicted class) in float64; those that are none have no confidence, -1."""

    def add(self, logits_NC: Tensor, label_N: Tensor, valid_N: Tensor) -> None:
        """Waits for no device."""
        begin = (self.slices * self.rank.world_size + self.rank.rank) * self.share
        self.slices += 1
        confidence_N, predicted_N = logits_NC.float().softmax(-1).max(-1)
        wrong_N = valid_N & (predicted_N != label_N)
        place_N = torch.arange(begin, begin + len(label_N), device=label_N.device)
        found_N4 = torch.stack(
            [confidence_N.double().where(wrong_N, -1.0), place_N.double(), label_N.double(), predicted_N.double()], 1
        )
        if self.kept_K4 is None:
            self.kept_K4 = found_N4.new_full((self.most, 4), -1.0)
        both = torch.cat([self.kept_K4, found_N4])
        self.kept_K4 = both[both[:, 0].topk(self.most).indices]

    def read(self, everywhere: bool = True) -> list[Mistake]:
        """The surest mistakes of all ranks, which must all ask; everywhere=False leaves the others out."""
        if self.kept_K4 is None:
            return []
        kept_K4 = self.kept_K4
        if everywhere and dist.is_initialized():
            kept_WK4 = kept_K4.new_empty(dist.get_world_size(), *kept_K4.shape)
            dist.all_gather(list(kept_WK4.unbind()), kept_K4)
            kept_K4 = kept_WK4.flatten(0, 1)
        rows = sorted(((-confidence, *map(int, rest)) for confidence, *rest in kept_K4.tolist() if confidence >= 0))
        return [Mistake(place, true, predicted, -less) for less, place, true, predicted in rows[: self.most]]
