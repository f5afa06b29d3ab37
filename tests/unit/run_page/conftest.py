"""A run whose figures are planted: no training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split
from semisonic.run_page.facts import Facts
from tests.support.command_line import config

CLASSES = ("cat", "dog", "<b>owl</b>")


@pytest.fixture
def data() -> DataSet:
    """12 training and 9 test images of three classes, in their turn."""
    rng = np.random.default_rng(0)

    def images(count: int) -> Images:
        return Images(rng.integers(0, 256, (count, 8, 8, 3), np.uint8), np.arange(count) % 3)

    ones = (1.0, 1.0, 1.0)
    return DataSet("planted", CLASSES, 8, ones, ones, False, 1, images(12), images(9))


@pytest.fixture
def planted(tmp_path: Path) -> Callable[..., Facts]:
    """Makes a finished run of 100 steps with ten evaluations, the last at 90 %, and other figures of its last lines."""

    def make(*fields: str, last: dict[str, Any] | None = None, top1: list[float] | None = None, **others: Any) -> Facts:
        accuracies = top1 or [50.0, 60.0, 70.0, 80.0, 85.0, 88.0, 89.0, 89.5, 90.0, 90.0]
        lines: list[dict[str, Any]] = []
        for number, accuracy in enumerate(accuracies, start=1):
            reading = {
                "step": 10 * number, "kind": "train", "train/loss": 5.0 / number, "train/loss_labeled": 3.0 / number,
                "train/loss_unlabeled": 2.0 / number, "train/coverage": 0.9, "train/pseudo_label_precision": 0.95,
                "train/class_share": [0.3, 0.3, 0.3], "train/labeled_accuracy": 0.9, "lr": 0.1 / number,
                "images_per_second": 100.0, "data_wait": 0.01,
            }  # fmt: skip
            lines.append(reading)
            tested = {
                "test/top1": accuracy,
                "test/loss": 1.0,
                "test_raw/top1": accuracy,
                "test/per_class": [100.0, 95.0, 75.0],
            }
            lines.append({"step": 10 * number, "kind": "eval", **tested})
        for line in lines[-2:]:
            line |= {name: value for name, value in (last or {}).items() if name in line or line["kind"] == "train"}
        everything = {
            "status": {"status": "finished", "step": 100, "steps": 100},
            "summary": {"step": 100, "test_images": 9, "wall_seconds": 75.0, "images_per_second": 100.0, "data_wait": 0.01,
                        "start_up": {"imports": {"seconds": 1.5, "cpu_seconds": 1.5}}, "versions": {"torch": "2"}},
            "lines": lines,
            "split": Split(np.arange(6), np.arange(12), np.array([], np.int64)),
            "state": {"classes": list(CLASSES), "step": 100, "labeled_counts": [2, 2, 2], "elapsed": 75.0},
        }  # fmt: skip
        return Facts(tmp_path, config("--steps", "100", *fields), **{**everything, **others})

    return make
