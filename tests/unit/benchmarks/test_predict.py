"""Predictions at scale are measured: memory that does not grow, and ranks that are killed."""

from pathlib import Path

import pytest

import predict
from tests.support.trainers import make_trainer


@pytest.mark.long
def test_memory_and_rows_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = make_trainer(tmp_path / "run", "--algorithm", "supervised", "--model", "small", "--threads", "1")
    trainer.save()
    trainer.checkpoint_writer.finish()
    monkeypatch.setattr(predict, "ROWS", 50)
    (tmp_path / "work").mkdir()
    found = predict.measure(tmp_path / "run", 100, 400, 1, 1000, tmp_path / "work")
    assert found["equal"] and found["rows"] == found["rows of the ranks"] == 400
    assert found["growth_mb"] < predict.GROWTH and found["parts left by the kills"] < 8
