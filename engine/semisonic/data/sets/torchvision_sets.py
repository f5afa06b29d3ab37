"""MNIST, Fashion-MNIST, CIFAR, SVHN and STL-10: torchvision's readers and downloads, turned into `Images`.

Constants are of the training images; those of the 28x28 sets are of the images zero-padded to 32x32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.cache import cache_folder, locked
from semisonic.data.sets.idx import find_idx, read_images_and_labels
from semisonic.schema import UserError

_DIGITS = tuple("0123456789")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@dataclass(frozen=True)
class Known:
    """What is fixed about a published data set."""

    title: str
    reader: str
    """Name of the class in torchvision.datasets."""
    classes: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    folder: str = ""
    """Where the files lie below data.root."""
    files: tuple[str, ...] = ()
    flip: bool = True
    border: int = 0
    counts: tuple[int, ...] | None = None
    """Training images of every class."""


def _gray(value: float) -> tuple[float, float, float]:
    return (value, value, value)


_MNIST_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_STL10_FILES = ("train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin")

KNOWN = {
    "mnist": Known(
        "handwritten digits, 28x28 gray padded to 32x32, 60,000 + 10,000",
        "MNIST", 10, 32, _gray(0.1000), _gray(0.2752), "MNIST/raw", flip=False, border=2, counts=_MNIST_COUNTS,
    ),
    "fashion-mnist": Known(
        "clothes, 28x28 gray padded to 32x32, 60,000 + 10,000",
        "FashionMNIST", 10, 32, _gray(0.2190), _gray(0.3318), "FashionMNIST/raw", border=2, counts=(6000,) * 10,
    ),
    "cifar10": Known(
        "10 classes of objects, 32x32, 50,000 + 10,000",
        "CIFAR10", 10, 32, (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616),
        "cifar-10-batches-py", _CIFAR10_FILES, counts=(5000,) * 10,
    ),
    "cifar100": Known(
        "100 classes of objects, 32x32, 50,000 + 10,000",
        "CIFAR100", 100, 32, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761),
        "cifar-100-python", ("train", "test", "meta"), counts=(500,) * 100,
    ),
    "svhn": Known(
        "house numbers, 32x32, 73,257 + 531,131 extra + 26,032 (data.svhn_extra)",
        "SVHN", 10, 32, (0.4380, 0.4440, 0.4730), (0.1751, 0.1771, 0.1744),
        files=("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"), flip=False,
    ),
    "stl10": Known(
        "10 classes of objects, 96x96, 5,000 labeled + 100,000 unlabeled + 8,000",
        "STL10", 10, 96, (0.4408, 0.4278, 0.3867), (0.2682, 0.2612, 0.2686),
        "stl10_binary", _STL10_FILES, counts=(500,) * 10,
    ),
}  # fmt: skip


def root_of(cfg: DataConfig) -> Path:
    """`data.root`, or its default in the user's cache."""
    root = cfg.root if cfg.root is not None else cache_folder() / "data" / cfg.name
    folder = KNOWN[cfg.name].folder
    # The folder with the files itself is as good as the one above it, which torchvision wants.
    return root.parent if folder and "/" not in folder and root.name == folder else root


def torchvision_problems(cfg: DataConfig) -> list[str]:
    """One line where files are missing and may not be downloaded, with the folder and the files; else []."""
    if cfg.download:
        return []
    known, root = KNOWN[cfg.name], root_of(cfg)
    folder = root / known.folder
    if known.files:
        wanted = [f for f in known.files if cfg.svhn_extra or not f.startswith("extra_")]
        missing = [name for name in wanted if not (folder / name).is_file()]
        where = str(folder)
    else:
        missing = find_idx(root, known.folder)[1]
        where = f"{root} (or {folder}), gzipped or not"
    if not missing:
        return []
    return [
        f"data.root: {cfg.name} misses {', '.join(missing)} in {where}; name the folder in data.root, "
        "or fetch the files with data.download=true"
    ]


def load_torchvision(cfg: DataConfig) -> DataSet:
    """Read the set, downloading it first where asked. Raises UserError for missing, damaged or unreachable
    files."""
    known, root = KNOWN[cfg.name], root_of(cfg)
    classes, train, test = _READERS[known.reader](cfg, root)
    return DataSet(
        cfg.name,
        classes,
        known.size,
        known.mean,
        known.std,
        flip=known.flip if cfg.flip is None else cfg.flip,
        pad=known.size // 8 if cfg.pad is None else cfg.pad,
        train=train,
        test=test,
        border=known.border,
    )


def _open(cfg: DataConfig, root: Path, **options: Any) -> Any:
    """torchvision's data set object, with its many errors turned into one line."""
    from torchvision import datasets

    reader: Callable[..., Any] = getattr(datasets, KNOWN[cfg.name].reader)
    absent = torchvision_problems(cfg.model_copy(update={"download": False}))
    try:
        if not (cfg.download and absent):
            return reader(root, download=False, **options)
        with locked(root / ".download"):  # one rank fetches, the others find it done
            return reader(root, download=True, **options)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        if cfg.download and absent:
            raise UserError(f"data.download: cannot fetch or read {cfg.name} in {root}: {reason}") from error
        advice = "remove the damaged files and fetch them again with data.download=true"
        raise UserError(f"data.root: cannot read {cfg.name} in {root}: {reason}; {advice}") from error


Parts = tuple[tuple[str, ...], Images, Images]


def _read_mnist(cfg: DataConfig, root: Path) -> Parts:
    raw = KNOWN[cfg.name].folder
    if cfg.download and find_idx(root, raw)[1]:
        _open(cfg, root)
    found, missing = find_idx(root, raw)
    if missing:
        raise UserError(f"data.root: {cfg.name} misses {', '.join(missing)} in {root}")
    parts = [read_images_and_labels(found, part, size=28, classes=10) for part in ("train", "test")]
    train, test = (Images(_pad_gray(pixels, KNOWN[cfg.name].size), labels) for pixels, labels in parts)
    return _DIGITS if cfg.name == "mnist" else _CLOTHES, train, test


def _pad_gray(pixels_NHW: np.ndarray, size: int) -> np.ndarray:
    """Zero-pad uint8 [N, H, W] to [N, size, size, 3]."""
    images, height, width = pixels_NHW.shape
    top, left = (size - height) // 2, (size - width) // 2
    padded = np.zeros((images, size, size, 3), np.uint8)
    padded[:, top : top + height, left : left + width] = pixels_NHW[..., None]
    return padded


def _read_cifar(cfg: DataConfig, root: Path) -> Parts:
    train, test = _open(cfg, root, train=True), _open(cfg, root, train=False)
    parts = [Images(np.ascontiguousarray(part.data), np.array(part.targets, np.int64)) for part in (train, test)]
    return tuple(train.classes), parts[0], parts[1]


def _read_svhn(cfg: DataConfig, root: Path) -> Parts:
    train = _gather(cfg, root, ("train", "extra") if cfg.svhn_extra else ("train",))
    return _DIGITS, train, _gather(cfg, root, ("test",))


def _read_stl10(cfg: DataConfig, root: Path) -> Parts:
    classes = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    return classes, _gather(cfg, root, ("train", "unlabeled")), _gather(cfg, root, ("test",))


def _gather(cfg: DataConfig, root: Path, splits: tuple[str, ...]) -> Images:
    """Concatenate torchvision's splits, planar uint8 [N, 3, H, W], as uint8 [N, H, W, 3]."""
    parts = [_open(cfg, root, split=split) for split in splits]
    pixels = np.empty((sum(len(part.data) for part in parts), *parts[0].data.shape[2:], 3), np.uint8)
    labels = np.empty(len(pixels), np.int64)
    first = 0
    while parts:
        part = parts.pop(0)  # freed before the next is copied: these sets are gigabytes
        last = first + len(part.data)
        pixels[first:last] = part.data.transpose(0, 2, 3, 1)
        labels[first:last] = part.labels
        first = last
    return Images(pixels, labels)


_READERS: dict[str, Callable[[DataConfig, Path], Parts]] = {
    "MNIST": _read_mnist,
    "FashionMNIST": _read_mnist,
    "CIFAR10": _read_cifar,
    "CIFAR100": _read_cifar,
    "SVHN": _read_svhn,
    "STL10": _read_stl10,
}
