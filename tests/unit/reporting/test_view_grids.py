"""Pictures of views and of kernels show the image and what has been done to it."""

from pathlib import Path

import numpy as np
from PIL import Image

from semisonic import cli
from semisonic.reporting.kernel_grids import CHANGES


def test_views_writes_a_grid_for_each_recipe(tmp_path: Path):
    assert cli.views(["--out", str(tmp_path), "--device", "cpu"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"plain.png", "weak.png", "fixmatch.png"} <= names
    pixels = np.asarray(Image.open(tmp_path / "fixmatch.png"))
    first = [pixels[row * 66 : row * 66 + 64, 0:64] for row in range(8)]
    other = [pixels[row * 66 : row * 66 + 64, 70 + 66 : 70 + 66 + 64] for row in range(8)]
    assert all((a != b).any() for a, b in zip(first, other, strict=True))
    plain = np.asarray(Image.open(tmp_path / "plain.png"))
    for kernel in CHANGES:
        changed = np.asarray(Image.open(tmp_path / f"batch-{kernel}.png"))
        assert (changed[:, :64] == plain[:, :64]).all() and (changed[:, 70:] != plain[:, 70:]).any(), kernel
    assert all((plain[row * 66 : row * 66 + 64, :64] == first[row]).all() for row in range(8))
