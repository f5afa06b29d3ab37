"""A run's predictions on its own pool, as a table that another run reads, with what its rows are beside it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semisonic import cli
from tests.support.trainers import make_trainer
from tests.support.two_roles import TWO_ROLES


def test_a_run_s_predictions_on_its_pool_make_a_teacher_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In the pool's order, so that the rows of the table are those of `u_index`."""
    fields = ("--model", "small", "--threads", "1", "--data.labels", "40", "--no-data.unlabeled-includes-labeled")
    large = make_trainer(tmp_path / "large", "--algorithm", "supervised", *fields)
    large.save()
    large.checkpoint_writer.finish()
    table = tmp_path / "table.safetensors"
    assert cli.predict([str(tmp_path / "large"), "--pool", "--out", str(table), "--net", "raw", "--batch", "100"]) == 0
    assert "probabilities in" in capsys.readouterr().out
    reduced = make_trainer(
        tmp_path / "reduced",
        *TWO_ROLES,
        "--algorithm.variant",
        "reduced",
        "--algorithm.predictions",
        str(table),
        *fields,
    )
    batch = next(reduced.loader())
    images = large.data.train.pixels[large.split.unlabeled[batch.u_index.numpy()]]
    logits = large.algorithm.eval().infer(torch.from_numpy(images).permute(0, 3, 1, 2))
    torch.testing.assert_close(
        reduced.algorithm.table[batch.u_index], logits.detach().softmax(-1), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(reduced.algorithm.label(batch), logits.argmax(-1))
    reduced.training_step(batch)
    with (tmp_path / "table.rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == large.split.unlabeled.tolist() and rows[0]["path"] == ""
    about = json.loads((tmp_path / "table.json").read_text())
    assert about["data"] == dict(large.data.fingerprint) and about["split"] == large.split.hash
    assert about["net"] == "raw" and about["classes"] == list(large.data.classes)


def test_the_rows_of_a_pool_of_files_have_their_paths(folder_run: tuple[Path, Path], tmp_path: Path):
    run, folder = folder_run
    table = tmp_path / "made" / "pool.npy"
    assert cli.predict([str(run), "--pool", "--out", str(table)]) == 0
    with (table.parent / "pool.rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(np.load(table)) and [row["row"] for row in rows] == [str(n) for n in range(len(rows))]
    assert all((folder.parent / row["path"]).is_file() for row in rows)
    assert sorted(path.name for path in table.parent.iterdir()) == ["pool.json", "pool.npy", "pool.rows.csv"]


def test_no_file_is_replaced_and_no_work_is_done_before_that_is_known(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("semisonic.inference.pool.predict_pool", lambda *_: pytest.fail("too late"))
    for name in ("table.npy", "table.rows.csv", "table.json"):
        (tmp_path / name).write_text("kept")
        assert cli.predict([str(run), "--pool", "--out", str(tmp_path / "table.npy")]) == 2
        assert capfd.readouterr().err == f"error: --out {tmp_path / name}: already exists; name another file\n"
        (tmp_path / name).unlink()
    assert cli.predict([str(run), "--pool", "--out", str(tmp_path / "table.csv")]) == 2
    assert "must end in .npy or .safetensors" in capfd.readouterr().err


def test_one_thing_is_predicted_and_options_are_where_they_mean_something(run: Path, capfd: pytest.CaptureFixture):
    for argv in ([], ["folder", "--pool"], ["folder", "--list", "-"]):
        assert cli.predict([str(run), *argv]) == 2
        assert capfd.readouterr().err.startswith("error: images: name a folder")
    assert cli.predict([str(run), "--pool", "--top", "3", "--resume", "--features"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["--resume:", "--top:", "--features:"]
    assert cli.predict([str(run), "folder", "--root", "x", "--csv", "y", "--verify-data"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["--root:", "--csv:", "--verify-data:"]
