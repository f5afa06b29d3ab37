"""`semisonic predict` from its arguments to its files and exit code: nothing is lost over a file, or over a stop."""

import csv
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import semisonic
from semisonic import cli
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.inference import job
from semisonic.inference.decoding import Predictor
from semisonic.inference.parts import Parts

COUNT = 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images of the digits, in three folders, by their numbers."""
    folder = tmp_path_factory.mktemp("images")
    data = load_data_set(DataConfig())
    for index in range(COUNT):
        (folder / str(index % 3)).mkdir(exist_ok=True)
        Image.fromarray(data.test.pixels[index]).save(folder / str(index % 3) / f"{index:03}.png")
    return folder


@pytest.fixture
def spoiled(images: Path, tmp_path: Path) -> Path:
    """The same, with files that cannot be used before, between and after them."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    for name in "012":
        (folder / name).symlink_to(images / name)
    return folder


def spoil(folder: Path) -> list[str]:
    (folder / "a.png").symlink_to(folder / "nowhere.png")
    (folder / "0broken.png").write_bytes(b"not an image")
    (folder / "empty.png").write_bytes(b"")
    return ["0broken.png", "a.png", "empty.png"]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def predict(run: Path, *argv: object) -> int:
    return cli.predict([str(run), *map(str, argv)])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_writes_a_table_that_agrees_with_the_network(run: Path, images: Path, tmp_path: Path, ending: str):
    data, out = load_data_set(DataConfig()), tmp_path / f"predictions.{ending}"
    assert predict(run, images, "--out", out, "--batch", 8) == 0
    if ending == "csv":
        found: list[Any] = rows(out)
    else:
        from pyarrow import parquet

        found = parquet.read_table(out).to_pylist()
    assert [row["path"] for row in found] == sorted(f"{index % 3}/{index:03}.png" for index in range(COUNT))
    with torch.no_grad():
        probabilities = semisonic.load(run)(torch.from_numpy(data.test.pixels[:20]).permute(0, 3, 1, 2)).softmax(-1)
    for row in found:
        expected = probabilities[int(Path(row["path"]).stem)]
        assert row["class"] == str(int(expected.argmax()))
        assert float(row["confidence"]) == pytest.approx(float(expected.max()), abs=1e-4)
        assert sum(float(row[f"top{place}_probability"]) for place in range(2, 6)) <= 1.0001
    assert predict(run, images, "--out", out) == 2  # never overwrites


def test_a_file_that_cannot_be_used_costs_no_other_row(
    run: Path, images: Path, spoiled: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    assert predict(run, spoiled, "--out", tmp_path / "all.csv") == 0
    bad = spoil(spoiled)
    assert predict(run, spoiled, "--out", tmp_path / "some.csv", "--part", 4) == 5
    printed = capfd.readouterr()
    assert len(rows(tmp_path / "some.csv")) == COUNT
    for row, same in zip(rows(tmp_path / "some.csv"), rows(tmp_path / "all.csv"), strict=True):
        assert row["path"] == same["path"] and row["class"] == same["class"]
        assert float(row["confidence"]) == pytest.approx(float(same["confidence"]), abs=1e-5)
    left_out = rows(tmp_path / "some.left_out.csv")
    assert [row["path"] for row in left_out] == bad
    assert [row["reason"] for row in left_out][::2] == ["not an image", "empty file"]
    assert f"{COUNT} predictions in {tmp_path}/some.csv; 3 left out, in {tmp_path}/some.left_out.csv" in printed.out
    assert "left out: 0broken.png: not an image\n" in printed.err
    assert not list(images.rglob(".semisonic")) and not list(spoiled.rglob(".semisonic"))


def test_where_no_file_can_be_used_the_mistake_says_why(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    (tmp_path / "bad").mkdir()
    spoil(tmp_path / "bad")
    assert predict(run, tmp_path / "bad", "--out", tmp_path / "none.csv") == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("error: none of 3 images can be used") and "0broken.png: not an image" in lines[1]
    assert rows(tmp_path / "none.csv") == [] and len(rows(tmp_path / "none.left_out.csv")) == 3


def test_files_that_change_after_they_were_checked_are_checked_again(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    moving = tmp_path / "moving.png"
    moving.write_bytes((images / "0" / "000.png").read_bytes())
    listed = tmp_path / "list"
    listed.write_text("".join(f"{path}\n" for path in [moving, *sorted(images.rglob("*.png"))]))
    outputs = Predictor.outputs

    def vanishing(self: Predictor, *args: Any) -> Any:
        moving.unlink(missing_ok=True)
        return outputs(self, *args)

    monkeypatch.setattr(Predictor, "outputs", vanishing)
    assert predict(run, "--list", listed, "--out", tmp_path / "out.csv") == 5
    assert len(rows(tmp_path / "out.csv")) == COUNT
    assert [row["path"] for row in rows(tmp_path / "out.left_out.csv")] == [str(moving)]


def test_lists_csv_and_arrays_have_the_rows_of_the_folder(run: Path, images: Path, tmp_path: Path):
    assert predict(run, images, "--out", tmp_path / "folder.csv") == 0
    expected = rows(tmp_path / "folder.csv")
    names = [row["path"] for row in expected]
    (images / "table.csv").write_text("label,path\n" + "".join(f"x,{name}\n" for name in names))
    (tmp_path / "list").write_text("".join(f"{images / name}\n" for name in names))
    pixels = np.stack([np.asarray(Image.open(images / name).convert("RGB")) for name in names])
    np.save(tmp_path / "pixels.npy", pixels)
    try:
        assert predict(run, images / "table.csv", "--out", tmp_path / "csv.csv") == 0
    finally:
        (images / "table.csv").unlink()
    assert predict(run, "--list", tmp_path / "list", "--out", tmp_path / "list.csv") == 0
    assert predict(run, tmp_path / "pixels.npy", "--out", tmp_path / "array.csv") == 0
    assert rows(tmp_path / "csv.csv") == expected
    for name, path in (("list", lambda row: f"{images}/{row['path']}"), ("array", None)):
        for number, (row, same) in enumerate(zip(rows(tmp_path / f"{name}.csv"), expected, strict=True)):
            assert row["path"] == (path(same) if path else f"pixels.npy[{number}]")
            assert row["class"] == same["class"]
            assert float(row["confidence"]) == pytest.approx(float(same["confidence"]), abs=1e-4)


def stopping_after(parts: int, action: Callable[[], object]) -> Callable[..., None]:
    """What takes the place of `Parts.write`: that, and the action once so many parts are written."""
    write, done = Parts.write, []

    def counted(self: Parts, *args: Any) -> None:
        write(self, *args)
        done.append(args)
        if len(done) == parts:
            action()

    return counted


@pytest.mark.parametrize("out", ["out.csv", "out"])
def test_a_stopped_job_goes_on_at_its_next_part(
    run: Path, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, out: str
):
    options: Sequence[object] = (images, "--part", 6, "--batch", 4)
    whole, target = tmp_path / f"whole-{out}", tmp_path / out
    assert predict(run, *options, "--out", whole) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", stopping_after(2, lambda: signal.raise_signal(signal.SIGTERM)))
        assert predict(run, *options, "--out", target) == 75
    assert "error: stopped by SIGTERM after 1" in capfd.readouterr().err
    assert predict(run, *options, "--out", target) == 2
    assert "--resume continues them" in capfd.readouterr().err
    assert predict(run, images, "--part", 6, "--batch", 5, "--top", 2, "--out", target, "--resume") == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(" with ")[2] for line in lines] == ["--batch 4, not 5", "--top 5, not 2"]
    written: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", stopping_after(1, lambda: written.append(1)))
        assert predict(run, *options, "--out", target, "--resume") == 0
    assert written == [1]
    if out == "out.csv":
        assert target.read_bytes() == whole.read_bytes()
        return
    assert predict(run, *options, "--out", target, "--resume") == 0  # is done, and says so again
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in target.iterdir()) and len(names) == 5
    assert all((whole / name).read_bytes() == (target / name).read_bytes() for name in names if name.startswith("part"))


def test_options_add_columns_and_views_depend_on_the_image_alone(
    folder_run: tuple[Path, Path], run: Path, images: Path, tmp_path: Path
):
    every = ("--views", 3, "--probabilities", "--logits", "--features", "--top", 1)
    for name, (model, folder) in {"memory": (run, images), "files": folder_run}.items():
        one, other = tmp_path / f"{name}-1.csv", tmp_path / f"{name}-2.csv"
        assert predict(model, folder, *every, "--out", one) == 0
        assert predict(model, folder, *every, "--out", other, "--part", 5, "--batch", 3) == 0
        plain = tmp_path / f"{name}-plain.csv"
        assert predict(model, folder, "--top", 1, "--probabilities", "--out", plain) == 0
        classes, differs = semisonic.load(model).classes, False
        for row, same, view in zip(rows(one), rows(other), rows(plain), strict=True):
            assert (
                list(row)[:3] == ["path", "class", "confidence"]
                and len(row) == 3 + 2 * len(classes) + semisonic.load(model).feature_dim
            )
            for column in list(row)[2:]:
                assert float(row[column]) == pytest.approx(float(same[column]), abs=2e-4)
            assert sum(float(row[f"probability_{label}"]) for label in classes) == pytest.approx(1, abs=1e-4)
            differs |= abs(float(row["confidence"]) - float(view["confidence"])) > 1e-3
        assert differs


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--out", "{dir}/table.txt"], "must end in .csv or .parquet"),
        (["--out", "{dir}/table.csv", "--format", "csv"], "--format: is for a folder of parts"),
        (["--views", "1001"], "--views: 1001; give 1 to 1,000"),
        (["--part", "0"], "argument --part"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(
    run: Path, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
    argv: list[str], problem: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "_predict", lambda *_: pytest.fail("too late"))
    before = sorted(tmp_path.iterdir())
    assert predict(run, images, *(part.format(dir=tmp_path) for part in argv)) == 2
    line = capfd.readouterr().err
    assert problem in line and line.count("\n") == 1 and sorted(tmp_path.iterdir()) == before
