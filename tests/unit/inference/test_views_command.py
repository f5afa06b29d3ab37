"""`semisonic views`: of fields, and of a run that there is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semisonic import cli
from semisonic.data.sets.splits import Split, save_split
from semisonic.inference.evaluate import configuration_of, images_of
from semisonic.inference.views_command import split_of
from semisonic.schema import UserError


def test_a_run_s_sheet_lies_in_its_folder_or_where_it_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    file = tmp_path / "sheet.png"
    assert cli.views([str(run), "--out", str(file)]) == 0 and capsys.readouterr().out == f"{file}\n"
    with Image.open(file) as picture:
        assert picture.width > 900 and picture.height > 700
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    assert cli.views([str(copy)]) == 0
    assert (copy / "views.png").read_bytes() == file.read_bytes()  # the same samples, of the same draws


def test_a_run_s_images_are_those_of_the_split_that_it_has_written(run: Path, tmp_path: Path):
    cfg = configuration_of(run)
    data = images_of(cfg)
    own = Split(np.arange(5), np.arange(5, 50), np.empty(0, np.int64))
    save_split(own, tmp_path / "split.npz", data.fingerprint)
    assert split_of(tmp_path, cfg, data).hash == own.hash != split_of(tmp_path / "none", cfg, data).hash
    save_split(own, tmp_path / "split.npz", {**data.fingerprint, "train": "another"})
    with pytest.raises(UserError, match=r"not what the run in .* began with: .*; --root says where"):
        split_of(tmp_path, cfg, data)


def test_mistakes_are_told_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture):
    assert cli.views([str(tmp_path / "none")]) == 2
    assert "is no run's folder; it has no config.yaml" in capfd.readouterr().err
    (tmp_path / "config.yaml").touch()
    assert cli.views([str(tmp_path), "--out", "a.jpg"]) == 2
    assert "--out a.jpg: name a file that ends in .png" in capfd.readouterr().err
    assert cli.views(["--resume"]) == 2
    assert "--resume: is for semisonic train" in capfd.readouterr().err
