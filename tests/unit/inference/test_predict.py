"""Predictions: a table for a folder of images, and probabilities for a run's pool, as the network has them."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

import semisonic
from semisonic import cli
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from tests.support.trainers import make_trainer
from tests.support.two_roles import TWO_ROLES


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_predict_writes_a_table_that_agrees_with_the_network(run: Path, tmp_path: Path, ending: str):
    data = load_data_set(DataConfig())
    for index in range(20):
        (tmp_path / "images" / str(index % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.test.pixels[index]).save(tmp_path / "images" / str(index % 3) / f"{index:03}.png")
    (tmp_path / "images" / "folder.png").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"not an image")
    out = tmp_path / f"predictions.{ending}"
    assert cli.predict([str(run), str(tmp_path / "images"), "--out", str(out), "--batch", "8"]) == 0
    if ending == "csv":
        with out.open() as file:
            rows = list(csv.DictReader(file))
    else:
        from pyarrow import parquet

        rows = parquet.read_table(out).to_pylist()
    assert len(rows) == 20
    with torch.no_grad():
        probabilities = semisonic.load(run)(torch.from_numpy(data.test.pixels[:20]).permute(0, 3, 1, 2)).softmax(-1)
    for row in rows:
        expected = probabilities[int(Path(row["path"]).stem)]
        assert row["class"] == row["top1_class"] == str(int(expected.argmax()))
        assert float(row["confidence"]) == pytest.approx(float(expected.max()), abs=1e-4)
        assert sum(float(row[f"top{place}_probability"]) for place in range(1, 6)) <= 1.0001
    assert cli.predict([str(run), str(tmp_path / "images"), "--out", str(out)]) == 2  # never overwrites


def test_a_run_s_predictions_on_its_pool_make_a_teacher_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In the pool's order, so that the rows of the table are those of `u_index`."""
    from semisonic import cli

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
    for argv in (["--pool", "folder"], []):
        assert cli.predict([str(tmp_path / "large"), *argv]) == 2
