"""Runs whose classifiers are fed, and their test images as files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.runs import QUICK

CLASSES = ("circle", "bars", "noise")
SIZES = ((24, 40), (16, 16), (33, 20), (90, 70))
"""Height and width of images of the run on files, whose size is 16."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests of folders that are only looked at go where the test is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def drawn(kind: str, height: int, width: int, generator: np.random.Generator) -> Image.Image:
    """A picture of a class in random colors."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shape = {
        "circle": (x**2 + y**2 < generator.uniform(0.2, 0.6)).astype(float),
        "bars": (np.sin(generator.uniform(6, 12) * x) > 0).astype(float),
        "noise": generator.uniform(size=(height, width)),
    }[kind]
    colors = generator.uniform(0, 255, (2, 3))
    return Image.fromarray((shape[..., None] * colors[0] + (1 - shape[..., None]) * colors[1]).astype(np.uint8))


@pytest.fixture(scope="session")
def folder_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run on files of several sizes, and the folder of its test images, one folder a class."""
    from semisonic import cli

    root, generator = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 12)):
        for kind in CLASSES:
            (root / "data" / part / kind).mkdir(parents=True)
            for number in range(count):
                picture = drawn(kind, *SIZES[number % len(SIZES)], generator)
                picture.save(root / "data" / part / kind / f"{number}.png")
    fields = ["--data", "folder", "--data.root", str(root / "data"), "--data.size", "16", "--data.labels", "12"]
    fields += ["--model", "small", "--no-baseline", "--log.trackers", "none", "--batch.labeled", "6", "--steps", "20"]
    assert cli.main([*QUICK, *fields, "--out", str(root / "run")]) == 0
    return root / "run", root / "data" / "test"
