"""A run on classes of different sizes says what its majority cannot carry, wherever it says what it came to."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from semisonic.algorithms.label_weights import effective_weights
from semisonic.cli import evaluate, main
from semisonic.data.sets.imbalance import class_counts
from semisonic.reporting.metrics_file import EVAL, read_metrics
from semisonic.training.class_groups import FIGURES
from tests.support.runs import QUICK, tensors

UNEVEN = (
    "--data", "digits", "--data.labels-head", "50", "--data.imbalance", "50", "--loss.class-weights", "effective",
    "--batch.balanced", "true", "--no-baseline", "--checkpoint.keep", "3",
)  # fmt: skip


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("runs") / "uneven"
    assert main([*UNEVEN, *QUICK, "--out", str(out)]) == 0
    return out


def test_every_report_has_the_same_recalls(uneven: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    summary = json.loads((uneven / "summary.json").read_text())
    assert summary["labels"] == sum(class_counts(50, 50, 10))
    last = [line for line in read_metrics(uneven / "metrics.jsonl") if line["kind"] == EVAL][-1]
    found = summary["test_by_class"]
    assert tuple(found) == FIGURES
    assert found == {name: last[f"test/{name}"] for name in FIGURES}
    assert found["balanced"] == pytest.approx(np.mean(last["test/per_class"]))
    assert found["many"] == pytest.approx(np.mean(last["test/per_class"][:3]))
    assert found["few"] == pytest.approx(np.mean(last["test/per_class"][7:]))
    capfd.readouterr()
    assert evaluate([str(uneven), "--out", str(tmp_path)]) == 0
    shown = capfd.readouterr().out
    assert all(name in shown for name in FIGURES), shown
    assert f"{found['few']:.2f} %" in shown
    evaluated = json.loads((tmp_path / "evaluation.json").read_text())["ema"]
    assert {name: evaluated[name] for name in FIGURES} == pytest.approx(found)


def test_the_split_is_kept(uneven: Path):
    with np.load(uneven / "split.npz") as split:
        assert len(split["labelled"]) == sum(class_counts(50, 50, 10))
        assert len(split["unlabelled"]) == 1397


def test_a_balanced_run_has_none_of_them(run: Path):
    assert "test_by_class" not in json.loads((run / "summary.json").read_text())
    assert all(f"test/{name}" not in line for line in read_metrics(run / "metrics.jsonl") for name in FIGURES)


def test_weights_and_balanced_draws_are_resumed_bit_for_bit(uneven: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(uneven, again)
    shutil.rmtree(again / "checkpoints" / "step-30")
    (again / "checkpoints" / "latest").write_text("step-20\n")
    (again / "summary.json").unlink()
    assert main([*UNEVEN, *QUICK, "--out", str(again), "--resume"]) == 0
    found = tensors(again, 30)
    assert found == tensors(uneven, 30)
    stored = np.frombuffer(found["label_weights.by_class"], np.float32)
    assert stored.tolist() == pytest.approx(effective_weights(class_counts(50, 50, 10)), rel=1e-6)
