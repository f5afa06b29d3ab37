"""Days of images for a simulated labeling project: real images with known classes, in an order as a camera sends them.

Every day has other class shares, drawn from a Dirichlet distribution, and one class comes first on a later day.
Shape suffixes: N images, H height, W width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from semisonic.data.sets.idx import FILES, find_idx, read_idx

FASHION = Path("/usr/share/datasets/fashion-mnist")
NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CONCENTRATION = 6.0
"""Of the Dirichlet distribution: the larger, the more alike the shares."""


@dataclass(frozen=True, eq=False)
class Source:
    """Gray images with classes."""

    name: str
    size: int
    classes: tuple[str, ...]
    pixels: np.ndarray
    """uint8 [N, H, W]."""
    truth: np.ndarray
    """int64 [N]."""
    test_pixels: np.ndarray
    test_truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Day:
    """What came on a day."""

    number: int
    """From 1."""
    rows: np.ndarray
    """int64 [N]: of the source's images."""


def fashion_mnist(root: Path = FASHION) -> Source:
    """Fashion-MNIST of half the size: the mean of each 2 x 2 pixels, 14 x 14."""
    found, missing = find_idx(root, "FashionMNIST/raw")
    if missing:
        raise FileNotFoundError(f"{root} has no {missing[0]}")
    images = {part: _halved(read_idx(found[f"{part} images"], 3)) for part in ("train", "test")}
    labels = {part: read_idx(found[f"{part} labels"], 1).astype(np.int64) for part in ("train", "test")}
    return Source("fashion-mnist", 14, NAMES, images["train"], labels["train"], images["test"], labels["test"])


def digits() -> Source:
    """scikit-learn's 1,797 digits of 8 x 8; every fifth is a test image."""
    data = load_digits()
    pixels, truth = np.rint(data.images * (255 / 16)).astype(np.uint8), data.target.astype(np.int64)
    test = np.arange(len(truth)) % 5 == 4
    names = tuple(f"digit {number}" for number in range(10))
    return Source("digits", 8, names, pixels[~test], truth[~test], pixels[test], truth[test])


def available(root: Path = FASHION) -> str:
    """The name of the source that this machine has."""
    return "fashion-mnist" if len(find_idx(root, "")[0]) == len(FILES) else "digits"


def _halved(pixels_NHW: np.ndarray) -> np.ndarray:
    count, height, width = pixels_NHW.shape
    blocks = pixels_NHW.reshape(count, height // 2, 2, width // 2, 2).astype(np.float32)
    return np.rint(blocks.mean((2, 4))).astype(np.uint8)


def days_of(source: Source, count: int, images: int, new_class: int, first_day: int, seed: int) -> list[Day]:
    """`count` days of `images` each, no image twice; `new_class` is not there before `first_day`.

    Where a class has no images left, the other classes take its place.
    """
    generator = np.random.default_rng(seed)
    left = [list(generator.permutation(np.flatnonzero(source.truth == c))) for c in range(len(source.classes))]
    days = []
    for number in range(1, count + 1):
        shares = generator.dirichlet(np.full(len(source.classes), CONCENTRATION))
        if number < first_day:
            shares[new_class] = 0
        rows: list[int] = []
        while len(rows) < images:
            open_classes = np.array([bool(entry) for entry in left]) & (shares > 0)
            if not open_classes.any():
                raise ValueError(f"{source.name} has too few images for {count} days of {images}")
            odds = np.where(open_classes, shares, 0)
            rows.append(int(left[generator.choice(len(odds), p=odds / odds.sum())].pop()))
        days.append(Day(number, np.array(rows, np.int64)))
    return days


def write_day(source: Source, day: Day, folder: Path) -> None:
    """Its images as PNG files whose names are the source's rows: an image's class is told by nothing in it."""
    folder.mkdir(parents=True)
    for row in day.rows.tolist():
        Image.fromarray(source.pixels[row]).save(folder / f"{row:05}.png")
