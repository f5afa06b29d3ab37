"""A share with its 95 % interval, and Clopper and Pearson's way to it. Legend: S strata."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import beta

Method = Literal["stratified", "simple", "cautious"]
"""How an interval came about. `cautious`: of a stratified draw of which fewer than 90 images are looked at so far, by
Clopper and Pearson's interval in each stratum, all of which hold at once."""

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """The share of right labels. All shares are from 0 to 1."""

    value: float
    low: float
    high: float
    n: int
    """Looks behind it."""
    population: int
    """Of how many images."""
    method: Method

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def simple(right: float, n: float, population: int | None = None, level: float = LEVEL) -> Estimate:
    """Clopper and Pearson's interval of `right` of n images that were drawn simply at random.

    Exact where the whole population was looked at. Also for other shares of n trials, such as agreement.
    """
    if not 0 <= right <= n or n <= 0:
        raise ValueError(f"right: {right} of {n} looks")
    of = int(n) if population is None else population
    if population is not None and n >= population:
        return Estimate(right / n, right / n, right / n, int(n), of, "simple")
    low, high = (
        float(bound) for bound in clopper_pearson(np.asarray(right, np.float64), np.asarray(n, np.float64), level)
    )
    if population is not None:  # what was looked at is known
        low, high = max(low, right / population), min(high, 1 - (n - right) / population)
    return Estimate(right / n, low, high, int(n), of, "simple")


def clopper_pearson(right: np.ndarray, n: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Its bounds; from 0 to 1 where n is 0."""
    tail, wrong = (1 - level) / 2, n - right
    low = np.where(right > 0, beta.ppf(tail, np.maximum(right, 1e-9), wrong + 1), 0.0)
    high = np.where(wrong > 0, beta.ppf(1 - tail, right + 1, np.maximum(wrong, 1e-9)), 1.0)
    return low, np.where(n > 0, high, 1.0)


def cautious(sizes_S: np.ndarray, right_S: np.ndarray, looked_S: np.ndarray) -> Estimate:
    """For a stratified draw with few looks so far: in every stratum Clopper and Pearson's interval, all at once right
    with 95 %; wide, and honest at any number of looks. The value is the middle where a stratum was not looked at."""
    sizes, right, looked = (np.asarray(one, np.int64) for one in (sizes_S, right_S, looked_S))
    check_counts(sizes, right, looked)
    all_of, rest = int(sizes.sum()), sizes - looked
    low, high = clopper_pearson(right.astype(np.float64), looked.astype(np.float64), 1 - (1 - LEVEL) / len(sizes))
    rate = np.where(looked > 0, right / np.maximum(looked, 1), (low + high) / 2)
    low, value, high = ((right + rest * share).sum() / all_of for share in (low, rate, high))
    return Estimate(float(value), float(low), float(high), int(looked.sum()), all_of, "cautious")


def check_counts(sizes: np.ndarray, right: np.ndarray, looked: np.ndarray) -> None:
    """Raises ValueError for counts of strata that cannot be."""
    if not (len(sizes) and (right >= 0).all() and (right <= looked).all() and (looked <= sizes).all() and sizes.sum()):
        raise ValueError(f"right {right}, looked {looked}, of {sizes}: each must be at most the next")
