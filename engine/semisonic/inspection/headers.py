"""The first and last bytes of all image files: sizes, colors, formats, and which files may be equal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from semisonic.inspection.facts import Header
from semisonic.inspection.findings import Files, span


@dataclass
class Headers:
    """`Header`s of N files as columns: of a million files, as objects, they would take a gigabyte."""

    bytes_N: np.ndarray
    identity_N2: np.ndarray
    """uint64: device and inode."""
    shapes_N2: np.ndarray
    """int32: height and width, 0 of what is no image."""
    orientation_N: np.ndarray
    format_N: np.ndarray
    """int16: number into `formats`; -1 of what is no image."""
    color_N: np.ndarray
    several_N: np.ndarray
    """bool: whether the file holds more than one picture."""
    tails_NB: np.ndarray
    """uint8 [N, 16]."""
    formats: list[str] = field(default_factory=list)
    colors: list[str] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    """Of files that are no images, by their position."""

    def __len__(self) -> int:
        return len(self.bytes_N)


def collect(found: Iterable[Header], count: int) -> Headers:
    """The columns of `count` headers."""
    table = Headers(
        np.zeros(count, np.int64), np.zeros((count, 2), np.uint64), np.zeros((count, 2), np.int32),
        np.zeros(count, np.uint8), np.full(count, -1, np.int16), np.full(count, -1, np.int16),
        np.zeros(count, bool), np.zeros((count, 16), np.uint8),
    )  # fmt: skip
    formats: dict[str, int] = {}
    colors: dict[str, int] = {}
    for i, entry in enumerate(found):
        table.bytes_N[i] = entry.size
        table.identity_N2[i] = entry.device, entry.inode
        table.tails_NB[i] = np.frombuffer(entry.tail, np.uint8)
        if entry.reason:
            table.reasons[i] = entry.reason
            continue
        table.shapes_N2[i] = entry.height, entry.width
        table.orientation_N[i] = entry.orientation
        table.several_N[i] = entry.several
        table.format_N[i] = formats.setdefault(entry.format, len(formats))
        table.color_N[i] = colors.setdefault(entry.color, len(colors))
    table.formats, table.colors = list(formats), list(colors)
    return table


def summary(table: Headers, paths: Sequence[str], size: int | None) -> Files:
    """What to tell of them. size: data.size, where it was given."""
    known = np.flatnonzero(table.format_N >= 0)
    shapes_K2 = table.shapes_N2[known]
    height_K, width_K = shapes_K2[:, 0], shapes_K2[:, 1]
    shorter_K = shapes_K2.min(1) if len(known) else height_K
    turned, counts = np.unique(table.orientation_N[table.orientation_N > 1], return_counts=True)
    formats = _counted(table.format_N[known], table.formats)
    return Files(
        images=len(known),
        bytes=int(table.bytes_N.sum()),
        formats=formats,
        format_bytes={
            name: int(table.bytes_N[table.format_N == table.formats.index(name)].sum()) for name in formats
        },
        colors=_counted(table.color_N[known], table.colors),
        orientations=dict(zip(turned.tolist(), counts.tolist(), strict=True)),
        several=int(table.several_N.sum()),
        one_of_several=next((paths[i] for i in np.flatnonzero(table.several_N).tolist()), ""),
        height=span(height_K),
        width=span(width_K),
        shorter_side=span(shorter_K),
        aspect=span(width_K / np.maximum(height_K, 1)),
        largest=paths[known[np.argmax(height_K.astype(np.int64) * width_K)]] if len(known) else "",
        size=size,
        smaller=int((shorter_K < size).sum()) if size is not None else 0,
    )  # fmt: skip


def _counted(numbers_K: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(numbers_K, minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (-counts[i], names[i]))
    return {names[i]: int(counts[i]) for i in order}


def perhaps_equal(table: Headers) -> np.ndarray:
    """bool [N]: files of the same size and the same last bytes as another, or the same file by another name."""
    rows = np.concatenate([table.bytes_N.view(np.uint8).reshape(-1, 8), table.tails_NB], 1)
    same = _repeated(rows) & (table.bytes_N > 0)
    return same | (_repeated(table.identity_N2.view(np.uint8).reshape(-1, 16)) & (table.identity_N2[:, 1] > 0))


def _repeated(rows_NB: np.ndarray) -> np.ndarray:
    """Which rows of bytes are there more than once: bool [N]."""
    if not len(rows_NB):
        return np.zeros(0, bool)
    rows = np.ascontiguousarray(rows_NB).view(np.dtype((np.void, rows_NB.shape[1]))).ravel()
    _, number_N, counts = np.unique(rows, return_inverse=True, return_counts=True)
    return counts[number_N.reshape(-1)] > 1
