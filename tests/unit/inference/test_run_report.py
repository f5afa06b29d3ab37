"""`semisonic report`: the page of a run from its folder alone, at any time, in any state."""

import json
import shutil
from pathlib import Path

import pytest

from semisonic import cli
from tests.fixtures.older_runs import FOLDER, RUNS
from tests.support.image_folders import write_images
from tests.support.runs import QUICK


def test_it_is_the_page_that_the_run_wrote(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "page.html"
    assert cli.report([str(run), "--out", str(out)]) == 0
    assert capfd.readouterr().out == f"{out}\n"
    written, made = (run / "report.html").read_text(), out.read_text()
    assert made.count("<img") == written.count("<img") > 10
    assert made == written, "the same evaluation in other slices"


@pytest.mark.parametrize("stored", RUNS)
def test_an_older_run_has_a_page(stored: str, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(FOLDER / stored, run)
    assert cli.report([str(run)]) == 0
    text = (run / "report.html").read_text()
    assert "stopped" in text and "<h2>Confusion</h2>" in text and f"--resume --out {run}" in text


def test_data_that_have_moved_leave_a_page_without_images(tmp_path: Path, capfd: pytest.CaptureFixture):
    images, run = tmp_path / "images", tmp_path / "run"
    for part in ("train", "test"):
        for name in ("<i>cat", "dog"):
            write_images(images / part / name, "1.png 2.png 3.png 4.png")
    fields = [*QUICK, "--data", "folder", "--data.root", str(images), "--data.size", "8", "--model", "small", "--steps", "2",
              "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--no-baseline", "--log.trackers", "none"]  # fmt: skip
    assert cli.main([*fields, "--out", str(run)]) == 0
    before = (run / "report.html").read_text()
    assert "<i>" not in before and "&lt;i&gt;cat" in before and "data:image/" in before
    images.rename(tmp_path / "elsewhere")
    capfd.readouterr()
    assert cli.report([str(run)]) == 0
    assert "--root says where the images are now" in capfd.readouterr().out
    text = (run / "report.html").read_text()
    assert "is not there any more" in text and "data:image/" not in text and "<h2>Classes</h2>" in text
    assert cli.report([str(run), "--root", str(tmp_path / "elsewhere")]) == 0
    assert (run / "report.html").read_text().count("data:image/") == before.count("data:image/")


def test_what_is_no_run_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture):
    for arguments, told in (
        ([str(tmp_path)], "is no run's folder"),
        ([str(tmp_path / "x")], "no such folder"),
        ([], "the following arguments are required: RUN"),
    ):
        assert cli.report(arguments) == 2
        error = capfd.readouterr().err
        assert told in error and len(error.splitlines()) == 1


def test_where_the_page_cannot_go_is_told_first(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    (tmp_path / "folder.html").mkdir()
    for out, told in (("page.txt", "must end in .html"), ("folder.html", "is no file")):
        assert cli.report([str(run), "--out", str(tmp_path / out)]) == 2
        assert told in capfd.readouterr().err


def test_a_run_without_a_checkpoint_and_without_a_network(run: Path, tmp_path: Path):
    for name in ("config.yaml", "split.npz"):
        shutil.copy(run / name, tmp_path / name)
    (tmp_path / "status.json").write_text(
        json.dumps({"status": "failed", "step": 0, "steps": 30, "reason": "<b>no memory"})
    )
    assert cli.report([str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "no checkpoint yet" in text and "&lt;b&gt;no memory" in text
