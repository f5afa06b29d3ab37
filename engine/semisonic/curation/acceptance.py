"""Which of a network's labels may be accepted: the largest surest part of which an audit says, by the lower end of its
95 % interval, that so many are right. Where a part ends is set by the audit, never by a probability: one that says 0.95
is right in 91 % of a run and in 98 % of another. Legend: N images, S strata.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from semisonic.curation.audit import ENOUGH, STRATA, Strata, allocate, estimate, posterior, spread_of
from semisonic.curation.intervals import LEVEL, Estimate, cautious

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Of all images, how large a part may be. Few and fixed: of many parts one would pass by luck."""
PLANNED = 10
"""Looks for which the certainty counts where further ones are planned. A plan may believe it, and may hope that a
stratum without wrong labels so far has none; a figure may not."""


@dataclass(frozen=True)
class Part:
    """The surest `share` of all images."""

    share: float
    rows: np.ndarray
    """int64, in the order of the images."""
    threshold: float
    """The least certainty in it."""
    found: Estimate


@dataclass(frozen=True)
class Looks:
    """What was found by looking at some of N images."""

    certainty_N: np.ndarray
    strata: Strata
    rows: np.ndarray
    """Of the images that were looked at."""
    right: np.ndarray
    """bool, of each of these."""

    @property
    def enough(self) -> int:
        """Looks in a part for an interval that is not the cautious one: 90 for each set of labels, such as a day, since
        each has its own strata."""
        return ENOUGH * -(-len(self.strata.sizes_S) // STRATA)


def surest_part(looks: Looks, at_least: float, seed: int = 0) -> Part | None:
    """The largest part that is right to at least this share; None: no part is, by the looks so far."""
    for share in SHARES:
        if _Counts.of(looks, _surest(looks.certainty_N, share)).value < at_least:
            continue  # so is the lower end
        part = part_of(looks, share, seed)
        if part is not None and part.found.low >= at_least:
            return part
    return None


def part_of(looks: Looks, share: float, seed: int = 0) -> Part | None:
    """The surest part of a size with what the looks say of it; None where nobody looked at any of it.

    With fewer than 90 looks in it its interval is the cautious one, since where nearly all is right no other is honest.
    """
    rows = _surest(looks.certainty_N, share)
    counts = _Counts.of(looks, rows)
    if not counts.looked.sum():
        return None
    if counts.looked.sum() >= looks.enough:
        found = estimate(counts.sizes, counts.means, counts.right, counts.looked, seed)
    else:
        found = cautious(counts.sizes, counts.right, counts.looked)
    return Part(share, rows, float(looks.certainty_N[rows].min()), found)


def more_to_accept(looks: Looks, at_least: float) -> int | None:
    """About how many more looks, drawn as the audit draws, let a part pass, should what was found so far hold.

    None: none, as even the surest part is not that good.
    """
    free = len(looks.certainty_N) - len(looks.rows)
    before = np.bincount(looks.strata.stratum_N[looks.rows], minlength=len(looks.strata.sizes_S))
    parts = [_Counts.of(looks, _surest(looks.certainty_N, share)) for share in SHARES]

    def passes(more: int) -> bool:
        n = before + allocate(looks.strata, more, before)
        return any(part.expected_low(n / looks.strata.sizes_S) >= at_least for part in parts)

    if not free or not passes(free):
        return None
    low, high = 1, free
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return high


def _surest(certainty_N: np.ndarray, share: float) -> np.ndarray:
    count = max(1, int(share * len(certainty_N)))
    return np.sort(np.argsort(-certainty_N, kind="stable")[:count])


@dataclass(frozen=True)
class _Counts:
    """Of the strata's images that are in a part; strata of which none is are left out."""

    stratum: np.ndarray
    sizes: np.ndarray
    means: np.ndarray
    looked: np.ndarray
    right: np.ndarray
    enough: int
    """`Looks.enough`."""

    @classmethod
    def of(cls, looks: Looks, rows: np.ndarray) -> "_Counts":
        inside = np.zeros(len(looks.certainty_N), bool)
        inside[rows] = True
        own, count = inside[looks.rows], len(looks.strata.sizes_S)
        stratum = looks.strata.stratum_N
        sizes = np.bincount(stratum[rows], minlength=count)
        there = np.flatnonzero(sizes)
        means = np.bincount(stratum[rows], looks.certainty_N[rows], minlength=count)[there] / sizes[there]
        looked = np.bincount(stratum[looks.rows[own]], minlength=count)[there]
        right = np.bincount(stratum[looks.rows[own & looks.right]], minlength=count)[there]
        return cls(there, sizes[there], means, looked, right, looks.enough)

    @property
    def value(self) -> float:
        """The larger of the two that an estimate may have."""
        a, b = posterior(self.means, self.right, self.looked)
        rate = np.maximum(a / (a + b), np.where(self.looked > 0, self.right / np.maximum(self.looked, 1), 1.0))
        return float((self.right + (self.sizes - self.looked) * rate).sum() / self.sizes.sum())

    def expected_low(self, looked_share_S: np.ndarray) -> float:
        """Where the lower end would lie with that share of each stratum looked at, and rates as they are so far; 0 with
        too few looks in the part."""
        believed = (self.right + PLANNED * self.means) / (self.looked + PLANNED)
        rate = np.maximum(believed, (self.right + 0.5) / (self.looked + 0.5) * (self.looked > 0))
        n = np.maximum(self.looked, looked_share_S[self.stratum] * self.sizes)
        if n.sum() < min(self.enough, 0.999 * self.sizes.sum()):
            return 0.0
        a, b = posterior(self.means, n * rate, n)
        mean = float((n * rate + (self.sizes - n) * a / (a + b)).sum() / self.sizes.sum())
        variance = spread_of(self.sizes, self.means, n * rate, n) ** 2
        if variance < 1e-12 or mean > 1 - 1e-9:
            return mean
        weight = mean * (1 - mean) / variance - 1  # of the Beta with this mean and variance
        return float(beta.ppf((1 - LEVEL) / 2, mean * weight, (1 - mean) * weight))
