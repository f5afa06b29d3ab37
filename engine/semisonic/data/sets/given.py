"""Images that Python code handed over, as a data set (`from_python.py` says in which forms)."""

import hashlib
from dataclasses import dataclass

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.duplicates import without_duplicates
from semisonic.data.sets.shown import as_shown
from semisonic.data.sets.splits import shuffled_by_class
from semisonic.schema import UserError

GIVEN = "given"
"""`data.name` of such images, which no configuration can load."""

_COUNTED = 2**22
"""Values at a time: counting makes 8 bytes of each."""
_TEST_SEED = 0  # not the run's: every run is tested on the same images


@dataclass(frozen=True, eq=False)
class GivenImages:
    """Images and their labels as they were given, before a configuration says how they are used."""

    train: Images
    test: Images | None
    """None: a part of the labeled images is held back."""
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.train.pixels.shape[1]

    @property
    def fingerprint(self) -> str:
        """What tells data apart (hex): every pixel and label, and the names of the classes."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part in (self.train, self.test):
            if part is not None:
                digest.update(f"{part.pixels.shape}".encode())
                digest.update(np.ascontiguousarray(part.pixels).data)
                digest.update(part.labels.astype("<i8").tobytes())
        return digest.hexdigest()[:32]


def given_data_set(images: GivenImages, cfg: DataConfig) -> DataSet:
    """The data set of given images. Raises UserError where no test images can be held back."""
    train, test, notes = images.train, images.test, []
    if cfg.test == "none":
        test = None
    if held_back := test is None and cfg.test != "none":
        train, test = _hold_back_test(train, images.classes, cfg.test_fraction)
        notes.append(
            f"no test images given: {len(test)} of the labeled images, {cfg.test_fraction:.0%} of every class, are "
            "the test set (the same for every seed); data.test=none trains on all of them"
        )
    mean, std = mean_and_deviation(train.pixels)
    if not all(std):
        raise UserError("data: the training images have a channel that is the same everywhere; are they images?")
    data = DataSet(
        GIVEN,
        images.classes,
        images.size,
        mean,
        std,
        flip=True if cfg.flip is None else cfg.flip,
        pad=images.size // 8 if cfg.pad is None else cfg.pad,
        train=train,
        test=test,
        notes=tuple(notes),
        held_back=held_back,
    )
    return as_shown(without_duplicates(data, cfg), cfg)


def given_problems(cfg: DataConfig) -> list[str]:
    """Mistakes that show without the images."""
    if cfg.fingerprint is None:
        return [
            f"data.name: {GIVEN} stands for images in Python: semisonic.train(data=...); name a data set, or folder"
        ]
    return []


def load_given(cfg: DataConfig) -> DataSet:
    """Raises UserError: what was in the memory of another process cannot be loaded."""
    raise UserError("data: the images were given in Python; call semisonic.train(data=..., resume=True) with them")


def _hold_back_test(train: Images, classes: tuple[str, ...], fraction: float) -> tuple[Images, Images]:
    """Training and test images: a share of every class's labeled ones, the same for every seed."""
    chosen = []
    for label, order in zip(classes, shuffled_by_class(train.labels, len(classes), _TEST_SEED), strict=True):
        if len(order) < 2:
            raise UserError(
                f"test: there are no test images, and class {label} has too few labeled ones to keep some for the "
                'test; give test=(images, labels), or do without: test="none"'
            )
        chosen.append(order[: min(max(round(fraction * len(order)), 1), len(order) - 1)])
    test = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(train)), test)
    return Images(train.pixels[rest], train.labels[rest]), Images(train.pixels[test], train.labels[test])


def mean_and_deviation(pixels_NHW3: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Per channel, of pixels scaled to 0..1; from their counts, so exact and the same on every machine."""
    means, deviations = [], []
    values = np.arange(256) / 255
    rows = max(1, _COUNTED // max(1, pixels_NHW3[0, ..., 0].size))
    for channel in range(3):
        counts = np.zeros(256, np.int64)
        for first in range(0, len(pixels_NHW3), rows):
            counts += np.bincount(pixels_NHW3[first : first + rows, ..., channel].ravel(), minlength=256)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())))
    return tuple(means), tuple(deviations)  # type: ignore[return-value]
