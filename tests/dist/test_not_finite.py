"""Ranks that meet a step which is not finite replay it together, and each keeps its batch."""

import json
from pathlib import Path

import pytest

from tests.support.processes import Run
from tests.support.trainers import FIELDS


@pytest.mark.long
def test_two_ranks_replay_a_step_and_one_process_takes_it_again(tmp_path: Path, launch: Run):
    out = tmp_path / "run"
    fields = ["--model", "small", "--batch.micro", "2", "--steps", "6", "--log.every", "3", "--eval.every", "6"]
    launch("train.py", *FIELDS, *fields, "--optim.lr", "1e19", "--out", out, processes=2)
    status = json.loads((out / "status.json").read_text())
    assert status["exit_code"] == 3 and "the same both times: the mathematics is at fault" in status["reason"]
    (kept,) = (out / "replay").glob("step-*")
    assert {path.name for path in kept.iterdir()} >= {"batch-0.safetensors", "batch-1.safetensors"}
    done = launch("replay.py", out, "--device", "cpu")
    assert done.returncode == 3 and "first layer that is not finite" in done.stdout, done.stderr[-2000:]
