"""Evaluating a checkpoint repeats the figures of its run, on its test images wherever they lie."""

import json
from pathlib import Path

import pytest
from PIL import Image

import semisonic
from semisonic import cli
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.inference import evaluate as inference
from semisonic.inference.evaluate import Places, configuration_in, images_of
from semisonic.schema import UserError
from semisonic.training.metrics import Evaluation


def test_evaluate_repeats_the_run_s_figures(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    assert cli.evaluate([str(run), "--out", str(tmp_path / "figures")]) == 0
    summary = json.loads((run / "summary.json").read_text())
    found = json.loads((tmp_path / "figures" / "evaluation.json").read_text())
    assert found["ema"]["top1"] == summary["test_top1"] and found["raw"]["top1"] == summary["test_top1_raw"]
    low, high = summary["test_top1_interval"]
    assert found["ema"]["top1_interval"] == [low, high] and low < summary["test_top1"] < high
    printed = capfd.readouterr().out
    assert f"{low:.2f} to {high:.2f} %" in printed
    assert f"{summary['test_top1']:.2f} %" in printed and "top-5" in printed and "precision" in printed
    assert (tmp_path / "figures" / "confusion-ema.png").exists()


def test_files_in_a_folder_that_has_moved_are_looked_for_in_it(tmp_path: Path):
    (tmp_path / "new/test").mkdir(parents=True)
    (tmp_path / "new/list.csv").write_text("path,label\n")

    def moved(places: Places = Places(tmp_path / "new"), **data: object) -> DataConfig:  # noqa: B008
        cfg = RunConfig.model_validate({"data": {"name": "folder", "size": 8} | data})
        return configuration_in(cfg.dump(), tmp_path, places).data

    found = moved(root="/old", csv="/old/list.csv", test_root="/elsewhere/test", split="/old/none.npz")
    assert found.root == tmp_path / "new" and found.csv == tmp_path / "new/list.csv"
    assert found.test_root == Path("/elsewhere/test") and found.split == Path("/old/none.npz")
    found = moved(csv="/old/list.csv", test_root="/old/test")
    assert found.csv == tmp_path / "new/list.csv" and found.test_root == tmp_path / "new/test"
    assert moved(test_root="/old/test").root == tmp_path / "new"
    places = Places(csv=Path("/a/b.csv"), test_root=Path("/c"), split=Path("/d.npz"))
    found = moved(places, root="/old", csv="/old/list.csv", test_root="/old/test", split="/old/split.npz")
    assert (found.root, found.csv, found.test_root, found.split) == (
        Path("/old"), Path("/a/b.csv"), Path("/c"), Path("/d.npz")
    )  # fmt: skip
    assert moved(Places(tmp_path / "new", csv=Path("/a/b.csv")), csv="/old/list.csv").csv == Path("/a/b.csv")


def test_every_place_that_has_gone_is_told_with_its_option(tmp_path: Path):
    gone = {"root": "/gone", "csv": "/gone/list.csv", "test_root": "/gone/test"}
    cfg = RunConfig.model_validate({"data": {"name": "folder", "size": 8} | gone})
    with pytest.raises(UserError) as caught:
        images_of(cfg)
    assert [line.split(": ")[0] for line in caught.value.messages] == ["data.csv", "data.root", "data.test_root"]
    assert "; --csv (or --root, for its folder) says where the images are now" in caught.value.messages[0]
    assert "; --test-root says where" in caught.value.messages[2]


@pytest.mark.parametrize("command", [cli.evaluate, lambda run: cli.predict([*run, "--pool"])])
def test_images_that_have_gone_are_told_with_the_option_that_finds_them(
    folder_run: tuple[Path, Path], capfd: pytest.CaptureFixture, command: cli.Command
):
    run, folder = folder_run
    data = folder.parent
    data.rename(data.with_name("moved"))
    try:
        assert command([str(run)]) == 2
        problem = f"error: data.root: {data} is not there any more; --root says where the images are now\n"
        assert capfd.readouterr().err == problem
    finally:
        data.with_name("moved").rename(data)


def test_a_folder_of_the_test_images_has_the_run_s_figures(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    data = load_data_set(DataConfig())
    for number, (image, label) in enumerate(zip(data.test.pixels, data.test.labels, strict=True)):
        (tmp_path / "images" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / str(label) / f"{number}.png")
    (tmp_path / "images" / "3" / "broken.png").write_bytes(b"no image")
    assert cli.evaluate([str(run), str(tmp_path / "images"), "--out", str(tmp_path / "out"), "--batch", "64"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    for net, name in (("ema", "test_top1"), ("raw", "test_top1_raw")):
        assert found[net]["top1"] == summary[name] and found[net]["count"] == 400
        assert found[net]["recall"] == found[net]["per_class"] and len(found[net]["f1"]) == 10
        for index, row in enumerate(found[net]["confusion"]):
            predicted = sum(other[index] for other in found[net]["confusion"])
            precision = found[net]["precision"][index]
            assert precision == pytest.approx(100 * row[index] / predicted) if predicted else precision is None
    printed = capfd.readouterr()
    assert "1 files left out" in " ".join(printed.out.split())
    assert "left out: 3/broken.png: not an image" in printed.err


def test_a_run_on_files_has_the_same_figures_on_their_folder(
    folder_run: tuple[Path, Path], capfd: pytest.CaptureFixture
):
    run, folder = folder_run
    expected = json.loads((run / "summary.json").read_text())["test_top1"]
    assert cli.evaluate([str(run), str(folder), "--net", "ema"]) == 0
    printed = capfd.readouterr().out
    assert f"ema  {expected:.2f} %" in printed and "top-5" not in printed  # of three classes it is 100 %
    assert semisonic.load(run).evaluate(folder).top1 == expected


@pytest.mark.parametrize("make, options, message", [
    (None, [], "cannot read the folder"),
    ("", [], "holds no class folders"),
    ("elk", [], "not classes of the run: elk; its classes are 0, 1, 2"),
    ("3", [], "no images found in the folders of the classes"),
    ("3", ["--root", "data"], "--root: is for the run's own test images; leave it out with a folder"),
])  # fmt: skip
def test_what_is_wrong_with_a_folder_is_one_line(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture, make: str | None, options: list[str], message: str
):
    if make is not None:
        (tmp_path / "images" / make).mkdir(parents=True)
    assert cli.evaluate([str(run), str(tmp_path / "images"), *options]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_python_is_warned_of_what_the_command_line_prints(folder_run: tuple[Path, Path], tmp_path: Path):
    run, folder = folder_run
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "bars").symlink_to(folder / "bars")
    with pytest.warns(UserWarning, match="no images of circle, noise"):
        assert semisonic.load(run).evaluate(str(tmp_path / "some")).count == 12


def test_an_evaluation_replaces_no_other(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    (tmp_path / "evaluation.json").write_text("kept")
    assert cli.evaluate([str(run), "--out", str(tmp_path)]) == 2
    assert f"--out {tmp_path}: holds an evaluation already" in capfd.readouterr().err
    assert cli.evaluate([str(run), "--out", str(tmp_path / "evaluation.json")]) == 2
    assert capfd.readouterr().err == f"error: --out {tmp_path}/evaluation.json: is no folder; name another\n"
    assert cli.evaluate([str(run), "--out", str(tmp_path / "evaluation.json" / "below")]) == 2
    assert "evaluation.json is no folder" in capfd.readouterr().err
    assert (tmp_path / "evaluation.json").read_text() == "kept"


def test_a_picture_that_cannot_be_drawn_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def fail(*_: object, of: str) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr(inference, "save_confusion", fail)
    result = Evaluation(50.0, 100.0, 1.0, [50.0], [[1]])
    inference.write_evaluation(inference.Evaluated({"ema": result}, ("$",), "one image", ()), tmp_path / "out")
    assert (tmp_path / "out" / "evaluation.json").exists()
    assert capsys.readouterr().err == "warning: confusion-ema.png is left out: RuntimeError: no font\n"


def test_labels_of_other_classes_are_a_line(tmp_path: Path):
    assert inference.labeled_counts({"classes": ["a", "b"]}, tmp_path) is None
    assert inference.labeled_counts({"classes": ["a", "b"], "labeled_counts": [5, 1]}, tmp_path) == [5, 1]
    with pytest.raises(UserError, match="labeled_counts: 1 numbers of 2 classes"):
        inference.labeled_counts({"classes": ["a", "b"], "labeled_counts": [5]}, tmp_path)
