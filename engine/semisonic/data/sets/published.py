"""What the readers of published sets share that are not downloaded here: where their files lie, what is said of one
that is missing or damaged, and images that are brought to a size as they are read."""

from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.cache import cache_folder
from semisonic.data.sets.given import mean_and_deviation
from semisonic.records.entries import LEAST_DEVIATION
from semisonic.schema import UserError
from semisonic.text import name_of

_SHOWN = 3  # missing files


def root_of(cfg: DataConfig) -> Path:
    """`data.root`, or its default in the user's cache."""
    return cfg.root if cfg.root is not None else cache_folder() / "data" / cfg.name


def absent(cfg: DataConfig, missing: list[str], where: Path, source: str) -> str:
    """The line on files that are not there; source: where to get the set."""
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    shown = ", ".join(map(name_of, missing[:_SHOWN]))
    own = "data.download does not fetch this set; " if cfg.download else ""
    return f"data.root: {cfg.name} misses {shown}{more} in {where}; {own}get it from {source}, and name its folder"


def damaged(cfg: DataConfig, file: Path, reason: object, source: str, others: int = 0) -> UserError:
    """The error of a file that cannot be used; others: how many more there are."""
    more = f" (and {others:,} more)" if others else ""
    return UserError(
        f"data.root: cannot use {name_of(file)} of {cfg.name}{more}: {' '.join(str(reason).split())}; get it again "
        f"from {source}"
    )


def too_large(cfg: DataConfig, size: int) -> str:
    """The line on images that this machine's memory cannot hold at a size."""
    return f"data.size: all images of {cfg.name} at {size} px are more than this machine's memory holds; give less"


def resident(
    cfg: DataConfig, classes: tuple[str, ...], size: int, parts: tuple[Images, Images], notes: list[str]
) -> DataSet:
    """A set in memory; parts: training and test images of the size. Its constants are those of its training images."""
    train, test = parts
    mean, deviation = mean_and_deviation(train.pixels)
    if min(deviation) < LEAST_DEVIATION:
        raise UserError(f"data.root: the training images of {cfg.name} are the same everywhere; get the set again")
    return DataSet(
        cfg.name,
        classes,
        size,
        mean,
        deviation,
        flip=True if cfg.flip is None else cfg.flip,
        pad=size // 8 if cfg.pad is None else cfg.pad,
        train=train,
        test=test,
        notes=tuple(notes),
    )


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] with its shorter side at `size`, bilinear, and of that the middle square."""
    from PIL import Image

    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    picture = Image.fromarray(image).resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (wide - size) // 2, (high - size) // 2
    return np.asarray(picture.crop((left, top, left + size, top + size)))


def file_problems(cfg: DataConfig) -> list[str]:
    """What a set of image files cannot have."""
    if cfg.pad is None:
        return []
    return ["data.pad: image files have no margin, their random crop is a part of the picture; leave it out"]
