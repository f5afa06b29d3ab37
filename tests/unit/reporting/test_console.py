"""What people see while a run trains: one short line."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console as RichConsole

from semisonic.data.sets.splits import Split
from semisonic.reporting.console import Console, ProgressLines, labels_used


def test_the_progress_line_is_short():
    def printed(figures: dict[str, object]) -> str:
        file = io.StringIO()
        lines = ProgressLines(RichConsole(file=file, width=200), None, 100, 0)
        lines.trained(10, {"images_per_second": 1.0, "data_wait": 0.0, "train/loss": 1.0, **figures})
        return file.getvalue()

    assert "coverage 63 % precision 97 %" in printed({"train/coverage": 0.63, "train/pseudo_label_precision": 0.974})
    assert "2 collapsed" in printed({"train/coverage": 0.63, "train/collapsed": 2})
    assert "coverage" not in printed({}) and "precision" not in printed({"train/coverage": 0.6})


def test_a_result_says_where_there_is_no_median(capfd: pytest.CaptureFixture):
    row = {"algorithm": "supervised", "labels": 40, "test_top1": 80.0, "test_top1_raw": 79.0, "wall_seconds": 3.0}
    baseline = row | {"test_top1_last20_median": 78.5}
    Console(True).result(
        row
        | {
            "algorithm": "mixmatch",
            "test_top1_last20_median": None,
            "evaluations_past_ramps": 12,
            "baseline": baseline,
        },
        Path("runs/first"),
    )
    printed = capfd.readouterr().out
    assert "78.50 %" in printed and "none" in printed
    assert "mixmatch: median of the last 20 evaluations: none, 12 are past its ramps" in printed
    assert "supervised: median" not in printed and "interval" not in printed


def test_a_result_on_few_test_images_has_its_interval(capfd: pytest.CaptureFixture):
    row = {
        "algorithm": "fixmatch", "labels": 40, "test_images": 400, "test_top1": 80.0, "test_top1_raw": 79.0,
        "test_top1_interval": [75.8, 83.6], "test_top1_last20_median": 78.5, "wall_seconds": 3.0,
    }  # fmt: skip
    Console(True).result(row, Path("runs/first"))
    printed = capfd.readouterr().out
    assert "fixmatch: 95 % interval of the EMA's accuracy with 400 test images: 75.80 to 83.60 %" in printed


def test_without_test_images_no_test_accuracy_is_printed(capfd: pytest.CaptureFixture):
    row = {"algorithm": "fixmatch", "labels": 40, "test_images": 0, "test_top1": None}
    Console(True).result(row, Path("runs/first"))
    Console(True).result(row | {"held_out_selected": {"step": 8, "held_out_top1": 90.0, "test_top1": None}}, Path("b"))
    first, _, second, _ = capfd.readouterr().out.splitlines()
    assert first == "No accuracy: there are no test images and none are held out (data.test, data.held_out)"
    assert second.startswith("No test images. Chosen on the held-out images: step 8, with 90.00 % of them right")


def test_labels_that_are_there_and_not_used_are_said():
    labels_N = np.array([0, 0, 0, 1, 1, 1, -1, -1])
    nothing = np.empty(0, np.int64)
    split = Split(np.array([0, 3]), np.arange(8), nothing)
    assert labels_used(labels_N, split, 2) == "2 of 6 (1 a class), held out 0"
    split = Split(np.array([0, 1, 3, 4, 5]), np.arange(8), np.array([2]))
    assert labels_used(labels_N, split, 2) == "5 (2 to 3 a class), held out 1"
