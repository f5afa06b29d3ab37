"""The center of an image as weights were evaluated on it: resized by its shorter side, then cut out, as Pillow does.

The shorter side becomes floor(size / crop) pixels, the longer one keeps the ratio, and the central size x size are
taken.
Only these are computed: a window of the image, resampled first along its rows and then along its columns, each rounded
to whole levels as Pillow does. DALI repeats pixels at an image's edges where Pillow takes those that are there; so the
window is continued in black, and what a filter misses there is made up for by a factor for each row and column. Of
images that shrink and are more than twice as high as wide, Pillow 13 resamples the columns first, which at hard edges
makes a difference of some levels.

Shape suffixes: N images, S size, K taps of a filter.
"""

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np

Interpolation = Literal["bilinear", "bicubic"]
RADIUS = {"bilinear": 1, "bicubic": 2}
"""Of a filter, in pixels of the larger of both images."""


@dataclass(frozen=True)
class Axis:
    """Along one axis of an image: which pixels are read, and how they become `size` ones."""

    start: int
    """The first pixel of the image that is read."""
    count: int
    """Pixels that are read."""
    before: int
    """Black pixels in front of them."""
    whole: int
    """Pixels with those in front and behind."""
    first: np.float32
    """Where the part that is shown begins, in pixels of these."""
    last: np.float32
    """Where it ends."""


def axes(height: int, width: int, size: int, crop: float, kind: Interpolation) -> tuple[Axis, Axis]:
    """Of the rows and columns of an image, in this order."""
    short = math.floor(size / crop)
    sides = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    return _axis(height, sides[0], size, kind), _axis(width, sides[1], size, kind)


@lru_cache(maxsize=4096)
def _axis(side: int, resized: int, size: int, kind: Interpolation) -> Axis:
    """side: of the image; resized: what it becomes, of which the middle `size` pixels are shown."""
    scale, begin = side / resized, round((resized - size) / 2)
    first, last = begin * scale, (begin + size) * scale
    margin = math.ceil(RADIUS[kind] * max(1.0, scale)) + 1
    low, high = math.floor(first) - margin, math.ceil(last) + margin
    start, stop = max(0, low), min(side, high)
    return Axis(start, stop - start, start - low, high - low, np.float32(first - low), np.float32(last - low))


@lru_cache(maxsize=4096)
def taps(axis: Axis, size: int, kind: Interpolation) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel of the result: the first pixel that goes into it, int64 [S], and weights, float32 [S, K].

    In the single precision and the order of DALI's filters on the CPU, so that results are rounded alike.
    """
    scale = np.float32((axis.last - axis.first) / np.float32(size))
    table = _table(kind)
    support = np.float32(2 * RADIUS[kind]) * max(np.float32(1), scale)
    density = np.float32((len(table) - 1) / support)
    count = math.ceil(np.float32((len(table) - 1) / density))
    # Where that is less work, DALI resamples along the other axis first, of the part that is needed.
    low, high = math.floor(axis.first - support / 2), math.ceil(axis.last + support / 2)
    origin = max(0, low) if high - low < size else 0
    half = np.float32(0.5)
    radius = np.float32((len(table) - 1) / 2) / density
    begin = np.float32(axis.first - np.float32(origin)) + np.float32(half * scale - half - radius)
    place_S = np.arange(size, dtype=np.float32) * scale + begin
    first_S = np.ceil(place_S)
    at_SK = ((first_S[:, None] + np.arange(count, dtype=np.float32)) - place_S[:, None]) * density
    low_SK = np.floor(at_SK)
    known = np.concatenate([table, np.zeros(2, np.float32)])  # an index of -1 finds a zero, too
    index_SK = np.clip(low_SK, -1, len(table)).astype(int)
    left_SK, right_SK = known[index_SK], known[np.clip(index_SK + 1, -1, len(table))]
    weight_SK = left_SK + (at_SK - low_SK) * (right_SK - left_SK)
    total_S = np.zeros(size, np.float32)
    for column in weight_SK.T:
        total_S += column
    return first_S.astype(np.int64) + origin, weight_SK / total_S[:, None]


@cache
def _table(kind: Interpolation) -> np.ndarray:
    """The filter at equal distances over all of its width; between them it is linear."""
    if kind == "bilinear":
        return np.array([0, 1, 0], np.float32)
    one = np.float32
    x = np.abs(4 * np.arange(129, dtype=np.float32) / one(128) - 2)
    near = (one(1.5) * x - one(2.5)) * x * x + 1
    return np.where(x < 1, near, ((one(-0.5) * x + one(2.5)) * x - 4) * x + 2).astype(np.float32)


@lru_cache(maxsize=4096)
def gains(axis: Axis, size: int, kind: Interpolation) -> np.ndarray:
    """What makes up for the black pixels around an image, float32 [S]: 1 where a filter meets none."""
    first_S, weight_SK = taps(axis, size, kind)
    pixel_SK = first_S[:, None] + np.arange(weight_SK.shape[1])
    inside_SK = (pixel_SK >= axis.before) & (pixel_SK < axis.before + axis.count)
    missing_S = (weight_SK * ~inside_SK).sum(1, dtype=np.float64)
    return (1 / (1 - missing_S)).astype(np.float32)


def parameters(shapes_N2: np.ndarray, size: int, crop: float, kind: Interpolation) -> dict[str, np.ndarray]:
    """What DALI's operators need of images of these heights and widths; pairs are (y, x)."""
    both = [axes(height, width, size, crop, kind) for height, width in shapes_N2.tolist()]

    def pairs(value: str, dtype: type) -> np.ndarray:
        return np.array([[getattr(axis, value) for axis in pair] for pair in both], dtype).reshape(-1, 2)

    return {
        "start": pairs("start", np.int32),
        "shape": pairs("count", np.int32),
        "before": -pairs("before", np.int32),
        "whole": pairs("whole", np.int32),
        "first": pairs("first", np.float32),
        "last": pairs("last", np.float32),
        "gain_y": np.stack([gains(rows, size, kind) for rows, _ in both]),
        "gain_x": np.stack([gains(columns, size, kind) for _, columns in both]),
    }
