"""Images of equal content: copies and links of a file, or equal pixels in memory; and what is done about them.

An image with two classes teaches a contradiction, and a test image among the training images makes the accuracy look
better than it is: in data of one's own these are mistakes. Copies of one class, copies in the unlabeled pool and copies
of labeled images in it are harmless, and are counted. Files are told by the hash of their bytes, so the same picture
saved anew is another image.

`data.duplicates` says what is done: `refuse` (an error), `warn` (a line at the start), or `drop`, which leaves out
1. every copy of an image with two classes, wherever it is;
2. every training image that is a copy of a test image;
3. of other copies among the training images all but the first, labeled ones before those without a label.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semisonic.cpus import usable_cpus
from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles, Images
from semisonic.data.sets.splits import Split
from semisonic.schema import UserError
from semisonic.text import name_of, printable

SHOWN = 3
"""Pairs of a kind that a message names."""
_LOOK = 1024  # bytes in the middle of an image, by which most pairs are told apart
_PIECE = 2**22  # bytes that a thread looks at at once


class Pair(NamedTuple):
    """Two images of equal content, by their positions."""

    first: int
    second: int


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What images are there more than once. Positions count the training images, and after them the test images."""

    labels: np.ndarray
    """int64 [N]; -1 = unknown."""
    training: int
    """How many of the images are training images."""
    groups: list[list[int]]
    """Two or more images of equal content each, labeled training images before those without a label, then the test
    images; in each of these in their order. The groups by their first image."""

    @cached_property
    def contradictions(self) -> list[Pair]:
        """For every image with several classes, its first copy and the first one of another class."""
        pairs = []
        for group in self.groups:
            known = [image for image in group if self.labels[image] >= 0]
            other = next((image for image in known if self.labels[image] != self.labels[known[0]]), None)
            if other is not None:
                pairs.append(Pair(known[0], other))
        return pairs

    @cached_property
    def leaks(self) -> list[Pair]:
        """For every test image that is a training image too: the first copy in the test, the first one in training."""
        return [
            Pair(next(image for image in group if image >= self.training), group[0])
            for group in self.groups
            if group[0] < self.training <= group[-1]
        ]

    @cached_property
    def copies(self) -> list[Pair]:
        """The first image of every harmless group with each of the others: neither contradictions nor leaks."""
        contradicting = {pair.first for pair in self.contradictions}
        harmless = [
            group
            for group in self.groups
            if not group[0] < self.training <= group[-1] and group[0] not in contradicting
        ]
        return [Pair(group[0], image) for group in harmless for image in group[1:]]

    def dropped(self) -> np.ndarray:
        """Which images `drop` leaves out, as the top of this file says: bool [N]."""
        out = np.zeros(len(self.labels), bool)
        contradicting = {pair.first for pair in self.contradictions}
        for group in self.groups:
            if any(image in contradicting for image in group):
                out[group] = True
            else:
                training = [image for image in group if image < self.training]
                out[training if len(training) < len(group) else training[1:]] = True
        return out


def find_duplicates(train: Images | ImageFiles, test: Images | ImageFiles | None = None) -> Duplicates:
    """Compares all images with each other. Files without digests, and files with pixels, are not compared."""
    parts = [train] if test is None else [train, test]
    labels_N = np.concatenate([part.labels for part in parts])
    pixels = [part.pixels for part in parts if isinstance(part, Images)]
    digests = [part.digests for part in parts if isinstance(part, ImageFiles) and part.digests is not None]
    if len(pixels) == len(parts) and len({own.shape[1:] for own in pixels}) == 1:
        same_N = _equal_pixels(pixels)
    elif len(digests) == len(parts):
        same_N = _numbered(np.concatenate(digests))
    else:
        return Duplicates(labels_N, len(train), [])
    return Duplicates(labels_N, len(train), _groups(same_N, labels_N, len(train)))


def _numbered(digests_NB: np.ndarray) -> np.ndarray:
    """Rows of uint8 [N, 16] as numbers that are equal where the rows are: int64 [N]."""
    if not len(digests_NB):
        return np.empty(0, np.int64)
    # By their first half as numbers, which sort several times as fast as bytes; nearly all are told apart by that.
    halves_N2 = np.ascontiguousarray(digests_NB).view(np.uint64)
    _, number_N, counts = np.unique(halves_N2[:, 0], return_inverse=True, return_counts=True)
    number_N = number_N.reshape(-1).astype(np.int64)
    alike = np.flatnonzero(counts[number_N] > 1)
    rows_M = np.ascontiguousarray(digests_NB[alike]).view(np.dtype((np.void, digests_NB.shape[1]))).ravel()
    number_N[alike] = len(digests_NB) + np.unique(rows_M, return_inverse=True)[1].reshape(-1)
    return number_N


def _equal_pixels(pixels: list[np.ndarray]) -> np.ndarray:
    """The same of images in memory, each uint8 [n, H, W, 3]: those alike in the middle are compared as a whole."""
    looks_N = np.concatenate([_in_pieces(own, _looked_at) for own in pixels])
    _, number_N, counts = np.unique(looks_N, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[number_N] > 1)
    if not len(alike):
        return number_N
    starts = np.cumsum([0, *(len(own) for own in pixels)])
    chosen = [own[alike[(alike >= a) & (alike < b)] - a] for own, a, b in zip(pixels, starts, starts[1:], strict=False)]
    digests_MB = np.concatenate([_in_pieces(own, _hashed) for own in chosen])
    number_N = number_N.astype(np.int64)
    number_N[alike] = len(looks_N) + _numbered(digests_MB)
    return number_N


def _in_pieces(pixels_NHWC: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What `work` makes of uint8 [n, B], of all images, several pieces at a time."""
    flat_NB = pixels_NHWC.reshape(len(pixels_NHWC), math.prod(pixels_NHWC.shape[1:]))  # there may be no image
    step = max(1, _PIECE // max(1, flat_NB.shape[1]))
    pieces = [flat_NB[start : start + step] for start in range(0, max(1, len(flat_NB)), step)]
    with ThreadPoolExecutor(min(8, usable_cpus())) as threads:
        return np.concatenate(list(threads.map(work, pieces)))


def _looked_at(rows_NB: np.ndarray) -> np.ndarray:
    """uint64 [N]: a sum over some bytes in the middle, with odd weights. Equal images have equal sums."""
    size = rows_NB.shape[1]
    used = min(size, _LOOK)
    start = (size - used) // 2
    middle = rows_NB[:, start : start + used]
    if used % 8:
        middle = np.pad(middle, ((0, 0), (0, 8 - used % 8)))
    words_NW = np.ascontiguousarray(middle).view(np.uint64)
    weights_W = np.random.Philox(key=used).random_raw(words_NW.shape[1]) | np.uint64(1)
    return np.einsum("nw,w->n", words_NW, weights_W)


def _hashed(rows_NB: np.ndarray) -> np.ndarray:
    """uint8 [N, 16]."""
    rows = np.ascontiguousarray(rows_NB)
    digests = b"".join(blake2b(row.data, digest_size=16).digest() for row in rows)
    return np.frombuffer(digests, np.uint8).reshape(len(rows), 16)


def _groups(same_N: np.ndarray, labels_N: np.ndarray, training: int) -> list[list[int]]:
    """`Duplicates.groups` of numbers that are equal where images are."""
    positions_N = np.arange(len(same_N))
    kind_N = np.where(positions_N >= training, 2, np.where(labels_N < 0, 1, 0))
    order_N = np.lexsort((positions_N, kind_N, same_N))
    starts = np.flatnonzero(np.diff(same_N[order_N], prepend=-1))
    ends = np.append(starts[1:], len(order_N))
    several = ends - starts > 1
    groups = [order_N[a:b].tolist() for a, b in zip(starts[several], ends[several], strict=True)]
    return sorted(groups)


# What is done about them.


def policy_of(cfg: DataConfig) -> str:
    """What is done about duplicates: refuse, warn or drop."""
    return cfg.duplicates or ("refuse" if cfg.name == "folder" else "warn")


def without_duplicates(data: DataSet, cfg: DataConfig) -> DataSet:
    """The data set as `data.duplicates` wants it, with a note of each kind of what was found.

    Where that is not set, images in files must be without contradictions and leaks, and of others it is told. Training
    images that are copies of what was held back for the test, by this program and not by the user, are left out, unless
    the field is `warn`. Raises `UserError` for what is refused, and where too little is left.
    """
    found = find_duplicates(data.train, data.test)
    if not found.groups:
        return data
    policy = policy_of(cfg)
    tell = _Teller(data, found)
    kept_apart = data.held_back and cfg.duplicates != "warn"
    if policy == "refuse" and (problems := tell.problems(leaks=not kept_apart)):
        raise UserError(problems)
    if policy == "drop":
        out_N = found.dropped()
    else:
        out_N = np.zeros(len(found.labels), bool)
        if kept_apart:
            groups = [group for group in found.groups if group[0] < found.training <= group[-1]]
            out_N[[image for group in groups for image in group if image < found.training]] = True
    notes = tell.notes(dropped=policy == "drop", kept_apart=kept_apart)
    if not out_N.any():
        return replace(data, notes=(*data.notes, *notes))
    return _without(data, out_N, notes, absent=cfg.absent_classes == "warn")


def _without(data: DataSet, out_N: np.ndarray, notes: list[str], absent: bool) -> DataSet:
    """The data set without some images, by their positions. absent: all classes but two may be without a label.

    Raises `UserError` where a class or the test is empty.
    """
    middle = len(data.train)
    train, test = _chosen(data.train, ~out_N[:middle]), data.test
    if test is not None:
        test = _chosen(test, ~out_N[middle:])
    counts_C = np.bincount(train.labels[train.labels >= 0], minlength=len(data.classes))
    problems = []
    empty = [name for name, count in zip(data.classes, counts_C, strict=True) if not count]
    if len(empty) > (len(data.classes) - 2 if absent else 0):
        more = f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
        problems.append(
            f"data.duplicates: without copies, no labeled training image is left of {', '.join(empty[:SHOWN])}{more}"
        )
    if test is not None and not len(test):
        problems.append("data.duplicates: without images of several classes, no test image is left")
    if problems:
        raise UserError(problems)
    return replace(data, train=train, test=test, notes=(*data.notes, *notes))


def _chosen(part: Images | ImageFiles, kept_N: np.ndarray) -> Images | ImageFiles:
    if kept_N.all():
        return part
    weights = None if part.weights is None else part.weights[kept_N]
    if isinstance(part, Images):
        return Images(part.pixels[kept_N], part.labels[kept_N], weights)
    return replace(
        part,
        paths=[path for path, kept in zip(part.paths, kept_N.tolist(), strict=True) if kept],
        labels=part.labels[kept_N],
        shapes=part.shapes[kept_N],
        via_pillow=part.via_pillow[kept_N],
        sizes=None if part.sizes is None else part.sizes[kept_N],
        digests=None if part.digests is None else part.digests[kept_N],
        weights=weights,
    )


def held_out_apart(cfg: DataConfig, data: DataSet, split: Split) -> Split:
    """The split without copies of held-out images in the pool, which its notes tell. Raises `UserError` where labeled
    images are copies of them.

    Where duplicates are only told of, the split stays as it is.
    """
    if not len(split.held_out) or policy_of(cfg) == "warn":
        return split
    found = find_duplicates(data.train)
    held_out, labeled, out = set(split.held_out.tolist()), set(split.labeled.tolist()), set[int]()
    leaks = []
    for group in found.groups:
        chosen = [image for image in group if image in held_out]
        if chosen:
            out.update(group)
            leaks += [Pair(chosen[0], image) for image in group if image in labeled][:1]
    if leaks:
        raise UserError(_Teller(data, found).held_out_problems(leaks))
    unlabeled = split.unlabeled[~np.isin(split.unlabeled, list(out))]
    if not (fewer := len(split.unlabeled) - len(unlabeled)):
        return split
    what = "1 copy of a held-out image is" if fewer == 1 else f"{fewer:,} copies of held-out images are"
    return replace(split, unlabeled=unlabeled, notes=(*split.notes, f"{what} left out of the unlabeled pool"))


class _Teller:
    """Puts what was found into words."""

    def __init__(self, data: DataSet, found: Duplicates):
        self.data, self.found = data, found

    def problems(self, leaks: bool) -> list[str]:
        """A line for each image with several classes and, where `leaks`, for each test image among the training
        images, up to a few; [] where there is none."""
        lines = self._lines(self.found.contradictions, self._contradiction)
        if leaks:
            lines += self._lines(self.found.leaks, self._leak)
        if not lines:
            return []
        advice = "correct or remove them, or set drop to leave them out, or warn to use them as they are"
        return [*lines, f"data.duplicates: {advice}"]

    def _lines(self, pairs: list[Pair], text: Callable[[Pair], str]) -> list[str]:
        lines = [f"data.duplicates: {text(pair)}" for pair in pairs[:SHOWN]]
        return [*lines, f"data.duplicates: and {len(pairs) - SHOWN:,} more like these"] if len(pairs) > SHOWN else lines

    def _contradiction(self, pair: Pair) -> str:
        first, second = pair
        other = f"{self.alike(first, second)} of class {self.label(second)}"
        return f"{self.name(first)} is of class {self.label(first)}, and {other}"

    def _leak(self, pair: Pair) -> str:
        test, training = pair
        role = "an unlabeled training image" if self.found.labels[training] < 0 else "a training image"
        return f"{self.name(test)} is a test image, and {self.alike(test, training)} {role}"

    def held_out_problems(self, leaks: list[Pair]) -> list[str]:
        """A line for each held-out image among the labeled images, up to a few."""
        lines = self._lines(leaks, lambda pair: f"{self.name(pair.first)} is held out, and {self.alike(*pair)} labeled")
        return [*lines, "data.duplicates: set drop to leave copies out, or warn to use them as they are"]

    def notes(self, dropped: bool, kept_apart: bool) -> list[str]:
        """A line for each kind of what was found."""
        found, notes = self.found, []
        if found.contradictions:
            done = "; all their copies are left out" if dropped else ""
            one, several = "image is of several classes", "images are of several classes"
            notes.append(self._note(found.contradictions, one, several, done, classes=True))
        if found.leaks:
            done = "; these training images are left out" if dropped or kept_apart else "; they stay there"
            where = "also among the training images"
            notes.append(self._note(found.leaks, f"test image is {where}", f"test images are {where}", done))
        if found.copies:
            done = "; of those among the training images the first is kept" if dropped else ""
            notes.append(self._note(found.copies, "image is a copy of another", "images are copies of others", done))
        return notes

    def _note(self, pairs: list[Pair], one: str, several: str, done: str, classes: bool = False) -> str:
        shown = ", ".join(
            " = ".join(f"{self.name(image)} ({self.label(image)})" if classes else self.name(image) for image in pair)
            for pair in pairs[:SHOWN]
        )
        count = len(pairs)
        more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
        return f"{count:,} {one if count == 1 else several}{done}: {shown}{more}"

    def _path(self, image: int) -> Path | None:
        middle = self.found.training
        part, index = (self.data.train, image) if image < middle else (self.data.test, image - middle)
        return part.root / part.paths[index] if isinstance(part, ImageFiles) else None

    def name(self, image: int) -> str:
        """The path of an image or, in memory, its number."""
        if (path := self._path(image)) is not None:
            return printable(path)
        middle = self.found.training
        return f"training image {image}" if image < middle else f"test image {image - middle}"

    def label(self, image: int) -> str:
        return name_of(self.data.classes[self.found.labels[image]])

    def alike(self, first: int, second: int) -> str:
        """The second image, and how it is the first."""
        one, other = self._path(first), self._path(second)
        try:
            same = one is not None and other is not None and os.path.samefile(one, other)
        except OSError:
            same = False  # gone since the scan: their contents were equal
        return f"{self.name(second)}, {'the same file' if same else 'its copy'},"
