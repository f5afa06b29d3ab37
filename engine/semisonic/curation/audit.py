"""The accuracy of labels without a test set: which images a person must look at, and what their looks say.

Only looks of a person at random images back a figure. Images are cut into strata by their certainty c, the network's
probability of its own label, so that few looks go where nearly all is right; c says nothing about the accuracy itself.
In each stratum of N_s images, of which n_s were looked at and x_s are right,

    rate ~ Beta(x_s + 0.5 c_s + 0.25, n_s - x_s + 0.5 (1 - c_s) + 0.25),   rest ~ Binomial(N_s - n_s, rate),

with c_s the mean certainty, and the share of right labels is the sum of x_s + rest over that of N_s. The prior weighs
one look: with a stronger one a certainty that lies would be believed. The upper end of the interval takes
Beta(x_s + 0.75, n_s - x_s + 0.25) instead, as if the network were certain, and 0.1 in the place of 0.25 where no look
has found a wrong label: by the prior above it would lie below the truth too often where nearly all is right, and where
the network is less sure than it is right. What was looked at is known: a stratum that was looked at wholly has no
uncertainty.

Below 100 looks no stratified interval is honest where nearly all is right: images are then drawn simply at random, and
the interval is Clopper and Pearson's. Legend: N images, S strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semisonic.curation.intervals import LEVEL, Estimate, Method, cautious, check_counts, simple
from semisonic.schema import UserError

STRATIFIED_FROM = 100
"""Looks; with fewer, the draw is simply random."""
ENOUGH = 90
"""Looks of a stratified draw for its interval: of 100 images that were drawn, a person cannot tell some."""
STRATA = 5
LEAST = 4
"""Looks in a stratum."""
FLOOR = 0.02
"""Of the variance c (1 - c) by which strata are cut and looks allocated: networks that have seen few labels are wrong
in many images of which they are sure, and a lower floor leaves too few looks for these."""
TOO_FEW = 10
"""Looks at a class, below which nothing is said about it."""
DRAWS = 10_000
UPPER = (0.75, 0.25, 0.1)
"""Prior looks of a stratum for the upper end of the interval: right, wrong, and wrong where none was found."""


@dataclass(frozen=True)
class Strata:
    stratum_N: np.ndarray
    """int64: the stratum of each image, 0 the least sure."""
    sizes_S: np.ndarray
    means_S: np.ndarray
    """Mean certainty."""


@dataclass(frozen=True)
class Drawn:
    rows: np.ndarray
    """int64: which images, in random order. What of them was looked at is random whenever a person stops."""
    stratum: np.ndarray
    method: Method


def deviation(certainty: np.ndarray) -> np.ndarray:
    """sqrt(c (1 - c)) of each, with the floor: of whether a label is right, as far as its certainty tells."""
    return np.sqrt(np.maximum(certainty * (1 - certainty), FLOOR))


def strata(certainty_N: np.ndarray, count: int = STRATA) -> Strata:
    """Cuts images, in the order of their certainty (0 to 1), into up to `count` strata of equal sum of sqrt(c (1 - c)).

    Raises ValueError for a certainty that is none, and for no images.
    """
    c = np.asarray(certainty_N, np.float64)
    if c.ndim != 1 or not len(c):
        raise ValueError(f"certainty: of shape {c.shape}; give one of each of at least one image")
    if not (np.isfinite(c).all() and c.min() >= 0 and c.max() <= 1):
        raise ValueError("certainty: must be from 0 to 1")
    order = np.argsort(c, kind="stable")
    spread = deviation(c)[order]
    middle = np.cumsum(spread) - spread / 2  # the middle of an image's own share: no stratum of one is cut off by it
    place = np.minimum((middle / spread.sum() * count).astype(np.int64), count - 1)
    stratum = np.empty(len(c), np.int64)
    stratum[order] = np.unique(place, return_inverse=True)[1]  # numbers without gaps where strata are empty
    sizes = np.bincount(stratum)
    return Strata(stratum, sizes, np.bincount(stratum, c) / sizes)


def allocate(of: "Strata | Audit", n: int, looked_S: np.ndarray | None = None) -> np.ndarray:
    """How many of `n` further images come from each stratum, by Neyman: all looks together as N_s sqrt(c_s (1 - c_s)),
    at least 4 a stratum (fewer where n does not suffice) and at most all of it.

    looked_S: those that were drawn before. Fewer than n come where there are no more images.
    """
    sizes, means = of.sizes_S, of.means_S
    before = np.zeros_like(sizes) if looked_S is None else np.asarray(looked_S, np.int64)
    total = int(min(before.sum() + n, sizes.sum()))
    least = np.minimum(np.minimum(sizes, LEAST), total // len(sizes))
    low = np.maximum(least, before)
    while low.sum() > total:  # an earlier draw took so many from one that the least of the others is too much
        low[np.argmax(low - before)] -= 1
    weight = sizes * deviation(means)
    wanted = _filled(weight, low, sizes, total)
    whole = np.clip(np.floor(wanted).astype(np.int64), low, sizes)
    for index in np.argsort(whole - wanted, kind="stable"):  # the largest remainders first
        whole[index] += min(1, sizes[index] - whole[index], total - whole.sum())
    return whole - before


def _filled(weight: np.ndarray, low: np.ndarray, high: np.ndarray, total: int) -> np.ndarray:
    """weight x factor, between low and high, so that all of it is `total`."""
    least, most = 0.0, float((high / weight).max())
    for _ in range(60):
        factor = (least + most) / 2
        if np.clip(weight * factor, low, high).sum() < total:
            least = factor
        else:
            most = factor
    return np.clip(weight * most, low, high)


def draw(of: Strata, n: int, seed: int, taken: np.ndarray | None = None) -> Drawn:
    """Draws n images without replacement, or all there are: simply at random where no 100 are looked at in all, else by
    stratum. The same seed draws the same.

    taken: rows of earlier draws from the same strata, to which this one adds.
    """
    if n < 1:
        raise ValueError(f"n: {n}; draw at least one image")
    free = np.ones(len(of.stratum_N), bool)
    before = np.zeros(0, np.int64) if taken is None else np.asarray(taken, np.int64)
    free[before] = False
    random = np.random.default_rng([seed, len(before)])
    rows = random.permutation(np.flatnonzero(free))
    simple = len(before) + min(n, len(rows)) < STRATIFIED_FROM
    if simple or n >= len(rows):
        rows = rows[:n]
    else:
        counts = allocate(of, n, np.bincount(of.stratum_N[before], minlength=len(of.sizes_S)))
        taken_from = [rows[of.stratum_N[rows] == index][:count] for index, count in enumerate(counts)]
        rows = random.permutation(np.concatenate(taken_from))
    return Drawn(rows, of.stratum_N[rows], "simple" if simple else "stratified")


@dataclass(frozen=True)
class Audit:
    """What was found by looking at a random sample of the labels of one network."""

    run: str
    """The network that gave the labels."""
    of: str
    """Which of its labels were drawn from, such as "day 3"."""
    method: Method
    """Of the draw: "stratified" or "simple"."""
    sizes_S: np.ndarray
    means_S: np.ndarray
    looked_S: np.ndarray
    right_S: np.ndarray
    sets: int = 1
    """Sets of labels, such as days, that were drawn from one by one: each of them needs its looks."""

    @property
    def n(self) -> int:
        return int(self.looked_S.sum())

    @property
    def enough(self) -> int:
        """Looks for the interval by strata."""
        return ENOUGH * self.sets if self.method == "stratified" else STRATIFIED_FROM

    def estimate(self, seed: int = 0) -> Estimate:
        """The share of right labels among all images that were drawn from, by the method that the looks allow.

        Raises ValueError where nothing was looked at.
        """
        if not self.n:
            raise ValueError(f"{self.of}: none of the drawn images is looked at")
        # Also after simple draws of 100 in all: within strata those are random samples as well.
        if self.n >= self.enough:
            return estimate(self.sizes_S, self.means_S, self.right_S, self.looked_S, seed)
        if self.method == "simple":
            return simple(int(self.right_S.sum()), self.n, int(self.sizes_S.sum()))
        return cautious(self.sizes_S, self.right_S, self.looked_S)


def counted(
    run: str,
    of: str,
    method: str,
    strata_sizes: np.ndarray,
    means_S: np.ndarray,
    stratum_n: np.ndarray,
    right_n: np.ndarray,
) -> Audit:
    """An audit of looks, one an entry: the stratum of each, and whether the label was right (bool)."""
    count = len(strata_sizes)
    looked = np.bincount(stratum_n, minlength=count)
    right = np.bincount(stratum_n, np.asarray(right_n, np.float64), minlength=count).astype(np.int64)
    kind: Method = "simple" if method == "simple" else "stratified"
    return Audit(run, of, kind, np.asarray(strata_sizes), np.asarray(means_S), looked, right)


def add_up(audits: Sequence[Audit]) -> Audit:
    """Audits of one network as one: draws from the same images stratum by stratum, others side by side.

    Raises UserError for audits of different networks, and where strata of the same images differ.
    """
    runs = sorted({audit.run for audit in audits})
    if len(runs) != 1:
        raise UserError(f"audits of different networks never add up: {', '.join(runs) or 'none was given'}")
    found: dict[str, Audit] = {}
    for audit in audits:
        one = found.get(audit.of)
        if one is None:
            found[audit.of] = audit
        elif not (np.array_equal(one.sizes_S, audit.sizes_S) and np.allclose(one.means_S, audit.means_S)):
            raise UserError(f"{audit.of}: two audits of it have different strata, so their looks do not add up")
        else:
            looked, right = one.looked_S + audit.looked_S, one.right_S + audit.right_S
            method: Method = "simple" if one.method == audit.method == "simple" else "stratified"
            found[audit.of] = replace(one, looked_S=looked, right_S=right, method=method)
    if len(found) == 1:
        return next(iter(found.values()))
    sizes_S, means_S, looked_S, right_S = (
        np.concatenate([getattr(audit, name) for audit in found.values()])
        for name in ("sizes_S", "means_S", "looked_S", "right_S")
    )
    return Audit(runs[0], ", ".join(found), "stratified", sizes_S, means_S, looked_S, right_S, len(found))


def prior(means_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the posterior Beta(right + first, wrong + second); it weighs one look."""
    means = np.asarray(means_S, np.float64)
    return 0.5 * means + 0.25, 0.5 * (1 - means) + 0.25


def estimate(
    sizes_S: np.ndarray, means_S: np.ndarray, right_S: np.ndarray, looked_S: np.ndarray, seed: int = 0
) -> Estimate:
    """The share of right labels by the posterior of the strata: its mean, and the 2.5 and 97.5 % points of draws.

    Honest from 100 looks on; `Audit.estimate` chooses. Raises ValueError for impossible counts.
    """
    sizes, right, looked = (np.asarray(one, np.int64) for one in (sizes_S, right_S, looked_S))
    check_counts(sizes, right, looked)
    a, b = posterior(means_S, right, looked)
    rest, all_of = sizes - looked, int(sizes.sum())
    value = float((right + rest * a / (a + b)).sum() / all_of)
    known, wrong = int(right.sum()), looked - right
    upper = right + UPPER[0], wrong + np.where(wrong > 0, UPPER[1], UPPER[2])
    low = _quantile(known, rest, a, b, (1 - LEVEL) / 2, seed) / all_of
    high = _quantile(known, rest, *upper, (1 + LEVEL) / 2, seed) / all_of
    # Of very few that are left, the quantiles are whole images, and the mean may lie beyond them.
    return Estimate(value, min(low, value), max(high, value), int(looked.sum()), all_of, "stratified")


def _quantile(known: int, rest_S: np.ndarray, a_S: np.ndarray, b_S: np.ndarray, at: float, seed: int) -> float:
    """Of how many labels are right in all."""
    random = np.random.default_rng(seed)
    return float(np.quantile(known + random.binomial(rest_S, random.beta(a_S, b_S, (DRAWS, len(rest_S)))).sum(1), at))


def posterior(means_S: np.ndarray, right_S: np.ndarray, looked_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Beta of each stratum's rate."""
    first, second = prior(means_S)
    return right_S + first, looked_S - right_S + second


def more_for(audit: Audit, half_width: float = 0.02) -> int:
    """How many more looks bring the interval to +-half_width, should what was found so far hold; 0 where it is there.

    By the posterior's variance for each number of looks, allocated as a further draw would. At most all images.
    """
    if not 0 < half_width < 1:
        raise ValueError(f"half_width: {half_width}; must lie between 0 and 1")
    if audit.n and audit.estimate().half_width <= half_width:
        return 0
    sizes, looked = audit.sizes_S, audit.looked_S
    low, high = 1, int((sizes - looked).sum())
    while low < high:
        middle = (low + high) // 2
        if expected_half_width(audit, middle) <= half_width:
            high = middle
        else:
            low = middle + 1
    return high


def expected_half_width(audit: Audit, more: int) -> float:
    """Of the interval after `more` further looks, with the rates that the looks so far suggest."""
    sizes, looked = audit.sizes_S, audit.looked_S
    a, b = posterior(audit.means_S, audit.right_S, looked)
    rate = a / (a + b)
    n = looked + allocate(audit, more, looked)
    if n.sum() < audit.enough and audit.method == "stratified":
        return cautious(sizes, np.round(n * rate), n).half_width
    if n.sum() < audit.enough:
        share = float((sizes * rate).sum() / sizes.sum())
        return simple(share * n.sum(), float(n.sum()), int(sizes.sum())).half_width
    return 1.96 * spread_of(sizes, audit.means_S, n * rate, n)


def spread_of(sizes_S: np.ndarray, means_S: np.ndarray, right_S: np.ndarray, looked_S: np.ndarray) -> float:
    """The standard deviation of the share of right labels, by the posterior; the counts need not be whole."""
    a, b = posterior(means_S, right_S, looked_S)
    rest = sizes_S - looked_S
    variance = rest * a * b * (a + b + rest) / ((a + b) ** 2 * (a + b + 1))  # of a Beta-binomial
    return float(np.sqrt(variance.sum()) / sizes_S.sum())


def handed_out(audit: Audit, reviewed_S: np.ndarray, seed: int = 0, rejected: int = 0) -> Estimate:
    """The accuracy of the labels that are handed out, where a person put other images right as well.

    audit: of looks at images that were not otherwise in the review; its sizes count the strata's images without those.
    reviewed_S: how many images of each stratum a person labeled otherwise; their labels are right, and so are those of
    the audit's images, since the person's are handed out. What remains are the images that nobody has looked at.
    rejected: how many of the audit's images a person found to be of no class, which have no label any more.
    """
    reviewed, n = int(np.sum(reviewed_S)) - rejected, audit.n
    population = int(audit.sizes_S.sum()) + reviewed
    if not (audit.sizes_S - audit.looked_S).sum():
        return Estimate(1.0, 1.0, 1.0, n, population, audit.method)
    # The interval is of the whole. What remains deviates by more than it says where looks were at much of the whole.
    audit = _not_all_known(audit)
    found, of = audit.estimate(seed), int(audit.sizes_S.sum())
    known = population - of + audit.n - int(audit.right_S.sum())  # people have put right what they have looked at
    value, low, high = ((known + share * of) / population for share in (found.value, found.low, found.high))
    return Estimate(value, low, high, n, population, found.method)


def _not_all_known(audit: Audit) -> Audit:
    """For an interval that does not know strata: without those that were looked at wholly, as a review leaves them.
    Their looks stand for no other image."""
    open_S = audit.sizes_S > audit.looked_S
    if audit.method != "simple" or audit.n >= STRATIFIED_FROM or not audit.looked_S[open_S].sum():
        return audit
    return replace(audit, **{k: getattr(audit, k)[open_S] for k in ("sizes_S", "means_S", "looked_S", "right_S")})


def apart_from_review(
    stratum_N: np.ndarray, suspicion_N: np.ndarray, audited_N: np.ndarray, reviewed_N: np.ndarray
) -> np.ndarray:
    """Strata in which the audit's images stand for what a review has left, int64 [N].

    A review takes the most suspicious images. As suspicious ones that were in the audit before would have been taken as
    well, so they do not stand for what was not. Each stratum of which k images were reviewed is split: the k most
    suspicious ones beside the audit's, with those of the audit that are as suspicious, and the others. audited_N,
    reviewed_N: bool, never both.
    """
    found = np.zeros(len(stratum_N), np.int64)
    for index in np.unique(stratum_N):
        own = stratum_N == index
        count = int((own & reviewed_N).sum())
        if count:
            least = np.sort(suspicion_N[own & ~audited_N])[-count]
            found[own] = np.where(suspicion_N[own] >= least, 2 * index + 1, 2 * index)
        else:
            found[own] = 2 * index
    return np.unique(found, return_inverse=True)[1]


@dataclass(frozen=True)
class ClassPrecision:
    """Of the labels of one class, the share that is right."""

    label: int
    n: int
    """Looks at labels of the class."""
    right: int
    value: float | None
    """None: too few checked to say."""
    low: float | None
    high: float | None


def per_class(
    label_n: np.ndarray, right_n: np.ndarray, stratum_n: np.ndarray, sizes_S: np.ndarray, classes: Sequence[int]
) -> list[ClassPrecision]:
    """Audited precision of each class; looks are weighted by how many images of their stratum each stands for.

    label_n: the label that each look checked; right_n: bool. The interval is Clopper and Pearson's at the number of
    equal looks that the weighted ones are worth. Classes with fewer than 10 looks have no value.
    """
    looked = np.bincount(stratum_n, minlength=len(sizes_S))
    weight_n = (np.asarray(sizes_S) / np.maximum(looked, 1))[stratum_n]
    found = []
    for label in classes:
        own = label_n == label
        n, right, weight = int(own.sum()), int(right_n[own].sum()), weight_n[own]
        if n < TOO_FEW:
            found.append(ClassPrecision(label, n, right, None, None, None))
            continue
        share = float((weight * right_n[own]).sum() / weight.sum())
        worth = float(weight.sum() ** 2 / (weight**2).sum())
        one = simple(min(share * worth, worth), worth)
        found.append(ClassPrecision(label, n, right, share, one.low, one.high))
    return found


def agreement(same: int, n: int) -> Estimate | None:
    """How often two looks at the same image, by one person or two, gave the same answer; None without any."""
    return simple(same, n) if n else None
