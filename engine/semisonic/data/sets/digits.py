"""scikit-learn's 1,797 handwritten digits, 8x8, shown at 16x16: real images that come with it."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.splits import shuffled_by_class

SIZE = 16
FILE = ("datasets", "data", "digits.csv.gz")
"""Below scikit-learn's folder: a line for each image, its 64 pixels and its class."""
COUNTS = (138, 142, 137, 143, 141, 142, 141, 139, 134, 140)  # training images of every class
# Of the 1,397 training images at 16x16.
MEAN, STD = 0.3051, 0.3186

_TEST_PER_CLASS = 40
_TEST_SEED = 0  # not the run's: every run is tested on the same images


def load_digits(cfg: DataConfig) -> DataSet:
    """1,397 training images and 400 test images, 40 of every class, the same for every seed."""
    images_N88, labels = _stored()
    pixels = _enlarge(images_N88)
    by_class = shuffled_by_class(labels, 10, _TEST_SEED)
    test = np.sort(np.concatenate([order[:_TEST_PER_CLASS] for order in by_class]))
    train = np.setdiff1d(np.arange(len(labels)), test)
    return DataSet(
        "digits",
        tuple("0123456789"),
        SIZE,
        (MEAN,) * 3,
        (STD,) * 3,
        flip=bool(cfg.flip),
        pad=SIZE // 8 if cfg.pad is None else cfg.pad,
        train=Images(pixels[train], labels[train]),
        test=Images(pixels[test], labels[test]),
    )


def _stored() -> tuple[np.ndarray, np.ndarray]:
    """float [N, 8, 8] of 0..16 and int64 [N], from scikit-learn's file: its import takes longer than all else here."""
    package = find_spec("sklearn")
    folders = (package.submodule_search_locations if package else None) or []
    if file := next(filter(Path.is_file, (Path(folder, *FILE) for folder in folders)), None):
        table = np.loadtxt(file, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits as load_bunch  # a version that keeps its file elsewhere

    bunch = load_bunch()
    return bunch.images, bunch.target.astype(np.int64)


def _enlarge(images: np.ndarray) -> np.ndarray:
    """float [N, 8, 8] of 0..16 -> uint8 [N, 16, 16, 3], bilinear."""
    from PIL import Image

    bytes_N88 = np.rint(images * (255 / 16)).astype(np.uint8)
    gray = [np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for i in bytes_N88]
    return np.repeat(np.stack(gray)[..., None], 3, axis=-1)
