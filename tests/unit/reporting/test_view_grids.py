"""Pictures of views and of kernels show the image and what has been done to it."""

from pathlib import Path

import numpy as np
from PIL import Image

from semisonic import cli
from semisonic.reporting import view_grids
from semisonic.reporting.captioned import Block
from semisonic.reporting.kernel_grids import CHANGES


def test_views_writes_a_grid_for_each_recipe(tmp_path: Path, monkeypatch):
    saved: dict[str, Block] = {}
    save = view_grids.save

    def kept(blocks, file):
        saved[file.stem] = blocks[0]
        save(blocks, file)

    for place in ("view_grids", "kernel_grids", "run_views"):
        monkeypatch.setattr(f"semisonic.reporting.{place}.save", kept)
    assert cli.views(["--out", str(tmp_path), "--device", "cpu"]) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == saved.keys() >= {"plain", "weak", "fixmatch", "views"}
    originals = [row[0].pixels for row in saved["plain"].rows]
    for name, block in saved.items():
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 500
        if name == "views":
            continue
        assert block.heads[:2] == ["original", "draw 1"] and len(block.rows) == 8 and len(block.rows[0]) == 10
        assert all((row[0].pixels == pixels).all() for row, pixels in zip(block.rows, originals, strict=True))
        assert [row[0].caption[0] for row in block.rows] == [row[0].caption[0] for row in saved["plain"].rows]
        changed = [(cell.pixels != row[0].pixels).any() for row in block.rows for cell in row[1:]]
        said = [cell.caption for row in block.rows for cell in row[1:]]
        if name == "plain":
            assert not any(changed) and said == [["as it is"]] * len(said)
        else:
            assert np.mean(changed) > 0.6 and all(said) and len({tuple(one) for one in said}) > 3, name
    assert {f"batch-{name}" for name in CHANGES} <= saved.keys()
