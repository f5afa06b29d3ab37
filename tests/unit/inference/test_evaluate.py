"""Evaluating a checkpoint repeats the figures of its run."""

import json
from pathlib import Path

import pytest

from semisonic import cli


def test_evaluate_repeats_the_run_s_figures(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    assert cli.evaluate([str(run), "--out", str(tmp_path / "figures")]) == 0
    summary = json.loads((run / "summary.json").read_text())
    found = json.loads((tmp_path / "figures" / "evaluation.json").read_text())
    assert found["ema"]["top1"] == summary["test_top1"] and found["raw"]["top1"] == summary["test_top1_raw"]
    assert f"{summary['test_top1']:.2f} %" in capfd.readouterr().out
    assert (tmp_path / "figures" / "confusion-ema.png").exists()
