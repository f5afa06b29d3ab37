"""EuroSAT (Helber et al. 2019, arXiv 1709.00029): 27,000 satellite pictures of land use, 64x64 RGB, a folder a class.

Read is the tree of JPEGs as it was published. It has no split of its own; USB's is taken, which is the same for every
seed: of each class, in the order of the files' names, the first 80 % are training images and the others test images.
The pictures stay in memory, so that their weak view is the padded crop of the papers on small images.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.sets.layout import read_folder
from semisonic.data.sets.limits import Limits, open_image, read_regular
from semisonic.data.sets.manifest import rgb_image
from semisonic.data.sets.published import absent, damaged, resident, resized, root_of, too_large
from semisonic.schema import UserError
from semisonic.stopping import until_stopped

SIZE = 64
SOURCE = "the publisher's page (EuroSAT RGB, of the German Research Center for Artificial Intelligence)"
IMAGES = {
    "AnnualCrop": 3000, "Forest": 3000, "HerbaceousVegetation": 3000, "Highway": 2500, "Industrial": 2500,
    "Pasture": 2000, "PermanentCrop": 2500, "Residential": 3000, "River": 2500, "SeaLake": 3000,
}  # fmt: skip
"""Pictures of every class, as published."""
_FOLDERS = ("", "EuroSAT_RGB", "2750", "EuroSAT/2750", "eurosat/2750")
"""Where the class folders lie below the root, as the archives of several years have them."""


def training_images(images: int) -> int:
    """How many of a class are training images."""
    return images * 4 // 5


COUNTS = tuple(map(training_images, IMAGES.values()))


def eurosat_problems(cfg: DataConfig) -> list[str]:
    """One line where class folders or files are missing, with the first of them; else []."""
    folder = _folder(root_of(cfg))
    missing = [name for name in IMAGES if not (folder / name).is_dir()]
    if not missing:
        missing = [f"{name}/{file}" for name, wanted in IMAGES.items() for file in _missing(folder, name, wanted)]
    return [absent(cfg, missing, folder, SOURCE)] if missing else []


def load_eurosat(cfg: DataConfig) -> DataSet:
    """The whole set in memory, at `data.size` (64). Raises UserError for what is missing or damaged."""
    if problems := eurosat_problems(cfg):
        raise UserError(problems)
    folder, size = _folder(root_of(cfg)), cfg.size or SIZE
    parts: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
    for label, name in enumerate(IMAGES):
        files = _names(folder, name)
        first = training_images(len(files))
        parts[0].extend((file, label) for file in files[:first])
        parts[1].extend((file, label) for file in files[first:])
    train, test = (_read(cfg, folder, part, size) for part in parts)
    return resident(cfg, tuple(IMAGES), size, (train, test), [])


def _folder(root: Path) -> Path:
    """The folder of the class folders, below the root; the root itself where there is none."""
    return next((root / own for own in _FOLDERS if (root / own / next(iter(IMAGES))).is_dir()), root)


def _names(folder: Path, name: str) -> list[str]:
    """The pictures of a class, relative to the folder, sorted."""
    return [f"{name}/{file}" for file in read_folder(folder / name).images]


def _missing(folder: Path, name: str, wanted: int) -> list[str]:
    """The files of a class that are not there; none where there are as many as were published."""
    found = {Path(file).name for file in _names(folder, name)}
    if len(found) >= wanted:
        return []
    named = [file for i in range(1, wanted + 1) if (file := f"{name}_{i}.jpg") not in found]
    return named[: wanted - len(found)]


def _read(cfg: DataConfig, folder: Path, files: list[tuple[str, int]], size: int) -> Images:
    try:
        pixels = np.empty((len(files), size, size, 3), np.uint8)
    except MemoryError as error:
        raise UserError(too_large(cfg, size)) from error
    bad: list[tuple[Path, Exception]] = []
    for i, picture in enumerate(until_stopped(_decoded([folder / file for file, _ in files], cfg.limits, bad))):
        pixels[i] = resized(picture, size)
    if bad:
        raise damaged(cfg, *bad[0], SOURCE, others=len(bad) - 1)
    return Images(pixels, np.array([label for _, label in files], np.int64))


def _decoded(files: list[Path], limits: Limits, bad: list[tuple[Path, Exception]]) -> Iterator[np.ndarray]:
    """uint8 [H, W, 3] of each file that can be decoded; the others are added to `bad`."""
    for file in files:
        try:
            with open_image(io.BytesIO(read_regular(file, limits.bytes)), limits.pixels) as opened:
                yield np.asarray(rgb_image(opened))
        except (OSError, ValueError, SyntaxError) as error:  # of Pillow's readers for what is damaged
            bad.append((file, error))
