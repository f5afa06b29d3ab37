"""A run goes on with the images that it began with, wherever they lie, and with no others."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from semisonic import cli
from semisonic.config.migrations import read_saved
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.checksum import data_checksum
from semisonic.data.sets.fingerprint import TABLE
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split, split_data
from semisonic.distributed.failures import RaisedByAllRanks
from semisonic.runs import known_data, run
from semisonic.runs.known_data import adopt_data, check_data, check_ranks_alike
from semisonic.runs.run_folder import create
from semisonic.schema import UserError
from semisonic.training.build import draw_split
from tests.support.command_line import config
from tests.support.image_folders import picture
from tests.support.runs import QUICK


def write_folder(root: Path) -> None:
    """Three labeled images and a test image of each of two classes, and eight without a label; all of them differ."""
    parts = {"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1, "unlabeled": 8}
    for number, name in enumerate(f"{part}/{index}.png" for part, count in parts.items() for index in range(count)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(20, 20, shift=12 * number).save(root / name)


def mistake(capfd: pytest.CaptureFixture, *command: object) -> str:
    """What a command says that ends with 2, in one line."""
    name, *rest = map(str, command)
    capfd.readouterr()
    assert cli.COMMANDS[name](rest) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("libpng")]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.slow
def test_a_run_knows_its_images(tmp_path: Path, capfd: pytest.CaptureFixture):
    root, out, elsewhere = tmp_path / "images", tmp_path / "run", tmp_path / "elsewhere"
    write_folder(root)
    shutil.copytree(root, elsewhere)
    fields = [*QUICK, "--data", "folder", "--data.root", str(root), "--data.size", "16", "--data.labels", "4",
              "--model", "small", "--no-baseline", "--log.trackers", "none", "--optim.schedule", "constant",
              "--eval.every", "1", "--checkpoint.every", "1", "--out", str(out)]  # fmt: skip
    assert cli.main([*fields, "--steps", "1"]) == 0
    saved = read_saved(out)
    assert saved.fields["data"]["classes"] == ["cat", "dog"] and (out / TABLE).is_file()
    known = load_data_set(config(*fields).data).fingerprint
    assert saved.records["content"]["data"] == known == split_data(out / "split.npz")
    (root / "train/cat").rename(root / "train/swapped")
    (root / "train/dog").rename(root / "train/cat")
    (root / "train/swapped").rename(root / "train/dog")
    first = "the training image train/cat/0.png holds something else (and 5 more differences)"
    expected = f"error: data: not what the run in {out} began with: {first}; "
    for command in (fields, ["--out", out]):
        said = mistake(capfd, "train", "--resume", *command, "--steps", "2")
        assert said == f"{expected}give the same images (--data.root says where they are), or use another --out"
    said = mistake(capfd, "predict", out, "--pool", "--out", tmp_path / "pool.npy")
    assert said.startswith(expected) and not (tmp_path / "pool.npy").exists()
    assert cli.evaluate([str(out), "--net", "ema"]) == 0  # whose test images are the same
    shutil.rmtree(root)
    assert cli.main(["--resume", "--out", str(out), "--data.root", str(elsewhere), "--steps", "2"]) == 0
    assert cli.predict([str(out), "--pool", "--root", str(elsewhere), "--out", str(tmp_path / "pool.npy")]) == 0
    assert cli.evaluate([str(out), "--net", "ema", "--root", str(elsewhere)]) == 0
    file = elsewhere / "test/dog/0.png"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # in a checksum that decoders ignore
    os.utime(file, ns=times)
    evaluation = ["evaluate", out, "--net", "ema", "--root", elsewhere]
    assert cli.evaluate([str(part) for part in evaluation[1:]]) == 0
    said = mistake(capfd, *evaluation, "--verify-data")
    assert said.startswith(f"error: data: not what the run in {out} began with: the test image test/dog/0.png holds ")
    assert f"semisonic evaluate {out} FOLDER" in said
    assert mistake(capfd, "train", "--resume", "--out", out, "--data.root", elsewhere, "--verify-data", "--steps", "3")


def test_a_rank_that_finds_other_images_is_refused_by_all(monkeypatch: pytest.MonkeyPatch):
    data = load_data_set(config().data)
    other = replace(data, test=replace(data.test, labels=data.test.labels[::-1]))
    ranks = SimpleNamespace(num_processes=3)
    monkeypatch.setattr(known_data, "of_ranks", lambda own: [own, own, data.fingerprint])
    check_ranks_alike(data, ranks)  # type: ignore[arg-type]
    with pytest.raises(RaisedByAllRanks, match="labels of the test images that rank 2 found are not"):
        check_ranks_alike(other, ranks)  # type: ignore[arg-type]
    check_ranks_alike(other, SimpleNamespace(num_processes=1))  # type: ignore[arg-type]


def test_ranks_are_compared_before_anything_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def differ(data: DataSet, accelerator: object) -> None:
        raise UserError(f"data: others of {len(data.classes)} classes")

    monkeypatch.setattr(run, "check_ranks_alike", differ)
    assert mistake(capfd, "train", *QUICK, "--out", tmp_path / "run") == "error: data: others of 10 classes"
    assert not (tmp_path / "run").exists()


def test_other_images_than_an_older_run_s_are_refused_as_far_as_it_knows_them(tmp_path: Path):
    cfg = config("--no-baseline", "--out", tmp_path)
    data = load_data_set(cfg.data)
    create(cfg, make_split(cfg.data, data.train.labels, 10, cfg.seed), data)
    others = (
        replace(data, classes=tuple("abcdefghij")),
        replace(data, test=replace(data.test, labels=data.test.labels[::-1])),
    )
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del content["data"]["classes"]
    for known, refused in ((data_checksum(data), True), (None, False)):
        content["content"] = {"data": known} if known else {}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content | {"schema": 1}))
        check_data(tmp_path, data)
        for other in others:
            if refused:
                with pytest.raises(UserError, match="its classes, labels or files are not those that the run in"):
                    check_data(tmp_path, other)
            else:
                check_data(tmp_path, other)
    (line,) = adopt_data(tmp_path, data)
    assert "kept no fingerprint of its images" in line and adopt_data(tmp_path, data) == []
    check_data(tmp_path, data)
    for other in others:
        with pytest.raises(UserError, match=r"not what the run in .* began with: the (classes|labels of the test)"):
            check_data(tmp_path, other)
    assert read_saved(tmp_path).fields["data"]["classes"] == list(data.classes)


def test_the_split_of_a_run_is_for_its_images(tmp_path: Path):
    cfg = config("--no-baseline", "--out", tmp_path / "a")
    data = load_data_set(cfg.data)
    create(cfg, split := draw_split(cfg, data), data)
    again = config("--no-baseline", "--data.split", tmp_path / "a/split.npz", "--out", tmp_path / "b")
    assert draw_split(again, data).hash == split.hash
    other = replace(data, train=replace(data.train, pixels=255 - data.train.pixels))
    with pytest.raises(UserError, match=r"data\.split: not what the run of .*split\.npz began with: the labeled train"):
        draw_split(again, other)
