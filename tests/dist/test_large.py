"""Large backbones on two ranks under ZeRO-2: bf16, micro-batches, activations computed again."""

import json
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Run

pytestmark = pytest.mark.long


@pytest.mark.parametrize("model", ["resnet50", "efficientnet_b4"])
def test_two_ranks_train_and_resume(tmp_path: Path, launch: Run, model: str):
    out = tmp_path / "run"
    fields = ["--device", "cpu", "--threads", "1", "--batch.labeled", "4", "--batch.unlabeled-ratio", "1", "--model", model,
              "--batch.micro", "2", "--precision", "bf16", "--recompute", "--no-baseline", "--steps", "2",
              "--checkpoint.every", "1", "--eval.every", "2", "--log.every", "1", "--log.trackers", "none",
              "--parallel.deepspeed", ROOT / "launch" / "deepspeed" / "zero2.json"]  # fmt: skip
    done = launch("train.py", *fields, "--out", out, processes=2, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DeepSpeed ZeRO-2" in done.stdout and "2 micro-batches" in done.stdout
    (out / "summary.json").unlink()
    (out / "checkpoints" / "latest").write_text("step-1\n")
    done = launch("train.py", "--resume", "--out", out, processes=2, timeout=900)
    assert done.returncode == 0 and "Resumed from" in done.stdout, done.stderr[-3000:]
    assert json.loads((out / "summary.json").read_text())["step"] == 2
