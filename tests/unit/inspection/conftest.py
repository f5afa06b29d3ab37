"""A folder with something of everything."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic.data.sets.base import DataConfig
from semisonic.inspection.survey import Survey, survey
from tests.support.image_folders import encoded, picture

CLASSES = {"cat": 12, "dog": 6}


def noise(seed: int, height: int = 20, width: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sound images: 18 labeled of two classes, 5 unlabeled, 4 test images, all of different content."""
    root = tmp_path / "images"
    for number, (name, count) in enumerate(CLASSES.items()):
        for part, images in (("train", count), ("test", 2)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(images):
                noise(1000 * number + 100 * (part == "test") + i).save(folder / f"{i}.png")
    (root / "unlabeled").mkdir()
    for i in range(5):
        noise(5000 + i, 60, 30).save(root / "unlabeled" / f"{i}.jpg")
    return root


@pytest.fixture
def odd_tree(tree: Path) -> Path:
    """The same with a copy, a link, a contradiction, a leak, two nearly empty images, a damaged and a missing one, and
    files that are passed over."""
    cat, pool = tree / "train/cat", tree / "unlabeled"
    shutil.copy(cat / "0.png", cat / "copy.png")
    os.link(pool / "0.jpg", pool / "link.jpg")
    shutil.copy(cat / "1.png", tree / "train/dog/one-of-cat.png")
    shutil.copy(cat / "2.png", tree / "test/cat/leak.png")
    Image.new("RGB", (40, 40), (250, 250, 250)).save(pool / "blank.png")
    Image.new("L", (40, 40), 0).save(cat / "black.png")
    (cat / "cut.jpg").write_bytes(encoded("RGB", "JPEG")[:400])
    (cat / "gone.png").symlink_to(tree / "nowhere.png")
    picture().convert("P").save(cat / "palette.gif")
    (pool / "notes.txt").write_text("no image")
    (pool / "photo.heic").write_text("no image")
    (pool / "._0.jpg").write_text("of a tool")
    return tree


@pytest.fixture
def look() -> Callable[..., Survey]:
    def look(root: Path | None, sample: int | None = None, **fields) -> Survey:
        return survey(DataConfig(**{"name": "folder", "root": root} | fields), 0, str(root), sample)

    return look
