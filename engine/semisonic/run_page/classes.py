"""What a run's network does with each class: its errors, thresholds and pseudo-labels, and what is taken for what."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semisonic.pages.pictures import Picture, data_uri
from semisonic.run_page.facts import Facts, Seen, labeled_counts
from semisonic.text import name_of

TABLE = 20
"""Classes up to which the matrix is a table of numbers; of more, it is a picture."""
LARGEST = 2000
"""Classes up to which it is one: of more it would cost more memory than the end of a run may."""
PAIRS = 12
"""Confusions that are listed."""
LEAST_SIDE = 300
"""Of a matrix's picture, about, in pixels."""


@dataclass(frozen=True)
class ClassRow:
    """A class; shares from 0 to 1, None where they are not known."""

    name: str
    labels: int | None
    images: int | None
    """That were evaluated."""
    recall: float | None
    """The right ones among its images; the rest is its error."""
    precision: float | None
    """The right ones among what is taken for it."""
    threshold: float | None
    pool: float | None
    """Its share of the unlabeled images whose class is known."""
    pseudo: float | None
    """Its share of the pseudo-labels that counted last."""

    @property
    def error(self) -> float | None:
        return None if self.recall is None else 1 - self.recall


@dataclass(frozen=True)
class Confused:
    """Images of one class that are taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the images of their class."""


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix: a table of cells, or a picture of it, and what is confused most."""

    names: list[str]
    rows: list[list[tuple[int, float]]]
    """By the true class: (images, share of the class) of each predicted one; [] where it is a picture, or too large."""
    picture: Picture | None
    pairs: list[Confused]
    wrong: int
    count: int


def rows_of(facts: Facts, seen: Seen) -> list[ClassRow]:
    """All classes, those with the largest error first; in their order where no error is known."""
    names, counts = facts.classes, labeled_counts(facts, seen.data)
    matrix = None if seen.confusion is None else np.asarray(seen.confusion)
    recalls = _recalls(facts, matrix)
    thresholds, shares = _vector(facts, "train/threshold"), _vector(facts, "train/class_share")
    pool = _pool(facts, seen)
    total = sum(shares) if shares else 0.0
    rows = []
    for c, name in enumerate(names):
        predicted = 0 if matrix is None else int(matrix[:, c].sum())
        rows.append(ClassRow(
            name_of(name), None if counts is None else counts[c],
            images=None if matrix is None else int(matrix[c].sum()),
            recall=recalls[c] if recalls else None,
            precision=None if matrix is None or not predicted else float(matrix[c, c] / predicted),
            threshold=thresholds[c] if thresholds else None,
            pool=float(pool[c]) if pool is not None else None,
            pseudo=shares[c] / total if shares and total else None,
        ))  # fmt: skip
    return sorted(rows, key=lambda row: -(row.error if row.error is not None else -1.0))


def _recalls(facts: Facts, matrix: np.ndarray | None) -> list[float | None] | None:
    """Of the images that were just evaluated, or else as the run noted them last."""
    if matrix is not None:
        sums = matrix.sum(1)
        return [float(matrix[c, c] / sums[c]) if sums[c] else None for c in range(len(matrix))]
    noted = _noted(facts, f"{facts.which}/per_class")
    return None if noted is None else [None if value is None else value / 100 for value in noted]


def _noted(facts: Facts, name: str) -> list[Any] | None:
    """The last vector of that name with an entry for each class."""
    value = facts.last(name)
    return value if isinstance(value, list) and len(value) == len(facts.classes) else None


def _vector(facts: Facts, name: str) -> list[float] | None:
    value = _noted(facts, name)
    return None if value is None or not all(isinstance(entry, int | float) for entry in value) else value


def _pool(facts: Facts, seen: Seen) -> np.ndarray | None:
    """Shares of the classes among the unlabeled images whose class the data set knows, [C]."""
    if seen.data is None or facts.split is None:
        return None
    labels = seen.data.train.labels[facts.split.unlabeled]
    known = labels[labels >= 0]
    if 2 * len(known) < max(len(labels), 1):  # of a few that people labeled, it would say nothing of the others
        return None
    return np.bincount(known, minlength=len(facts.classes)) / len(known)


def matrix_of(names: Sequence[str], confusion: list[list[int]]) -> Matrix:
    counts = np.asarray(confusion)
    sums = np.maximum(counts.sum(1), 1)
    order = [
        (int(counts[true, predicted]), int(true), int(predicted))
        for true, predicted in zip(*np.nonzero(counts), strict=True)
        if true != predicted
    ]
    shown = [name_of(name) for name in names]
    pairs = [
        Confused(shown[true], shown[predicted], count, float(count / sums[true]))
        for count, true, predicted in sorted(order, key=lambda item: (-item[0], item[1:]))[:PAIRS]
    ]
    rows, picture = [], None
    if len(counts) <= LARGEST:
        shares = counts / sums[:, None]
        if len(counts) <= TABLE:
            rows = [list(zip(c, s, strict=True)) for c, s in zip(counts.tolist(), shares.tolist(), strict=True)]
        else:
            picture = Picture("Confusion matrix: true classes down, predicted ones across", _drawn(shares))
    return Matrix(shown, rows, picture, pairs, int(counts.sum() - counts.trace()), int(counts.sum()))


def _drawn(shares: np.ndarray) -> str:
    """The matrix as the address of a picture: the larger a share, the more of a blue that both themes show."""
    from PIL import Image

    alpha = np.rint(255 * np.sqrt(shares)).astype(np.uint8)
    pixels = np.empty((*alpha.shape, 4), np.uint8)
    pixels[...] = (11, 99, 206, 0)
    pixels[..., 3] = alpha
    scale = max(1, round(LEAST_SIDE / len(alpha)))
    content = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1), "RGBA").save(content, "PNG")
    return data_uri(content.getvalue(), "png")
