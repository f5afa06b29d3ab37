"""Train 40 steps == train 20, kill -9, resume, train 20: every tensor of the checkpoint, bit for bit."""

import json
import signal
import sys
from pathlib import Path

import pytest

from semisonic.reporting.metrics_file import read_metrics, results
from tests.support.processes import ROOT, Run, Start, wait_for
from tests.support.runs import tensors

FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--steps", "40", "--checkpoint.every", "20", "--checkpoint.keep", "5", "--eval.every", "40", "--log.every", "7",
          "--algorithm.threshold", "0.2"]  # fmt: skip


def fields_for(processes: int) -> list[str]:
    """Several ranks train the baseline as well: the process group must outlive it. One has a batch that grows."""
    growing = ["--batch.unlabeled-schedule", "growing", "--batch.unlabeled-bend", "0"]
    return FIELDS if processes > 1 else [*FIELDS, "--no-baseline", *growing]


# Two ranks, killed, that resume are in test_elastic.py as well, with the baseline.
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_killed_run_resumes_without_a_trace(tmp_path: Path, launch: Run, processes: int):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = launch("train.py", *fields_for(processes), "--out", whole, processes=processes)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = ",".join(map(str, range(processes)))
    done = launch("../tests/dist/killed.py", ranks, *fields_for(processes), "--out", killed, processes=processes)
    assert done.returncode == (1 if processes > 1 else -signal.SIGKILL) and (tmp_path / "killed.0.killed").exists(), (
        done.stderr
    )
    assert not (killed / "checkpoints" / "step-40").exists() and not (killed / "summary.json").exists()
    done = launch("train.py", "--resume", "--out", killed, processes=processes)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Resumed from" in done.stdout and "step-20" in done.stdout

    expected, found = tensors(whole), tensors(killed)
    assert found.keys() == expected.keys() and any(name.endswith("momentum_buffer") for name in found)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert tensors(whole, 20) != expected  # the comparison can fail

    lines = [[results(line) for line in read_metrics(run / "metrics.jsonl")] for run in (whole, killed)]
    assert lines[0] == lines[1] and [line["step"] for line in lines[0]] == [7, 14, 21, 28, 35, 40, 40]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (whole, killed)]
    assert summaries[0]["test_top1"] == summaries[1]["test_top1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_writes_a_checkpoint_and_exits_75(tmp_path: Path, start: Start, number: signal.Signals):
    out = tmp_path / "run"
    child = start(
        sys.executable, ROOT / "launch" / "train.py", *FIELDS, "--no-baseline", "--steps", "100000", "--out", out
    )
    wait_for(out / "checkpoints" / "latest", child)
    child.send_signal(number)
    output = child.communicate(timeout=60)[0]
    assert child.returncode == 75, output
    status = json.loads((out / "status.json").read_text())
    assert status["status"] == "stopped" and status["reason"] == number.name and status["exit_code"] == 75
    assert (out / "checkpoints" / f"step-{status['step']}").is_dir()
    assert (out / "checkpoints" / "latest").read_text().strip() == f"step-{status['step']}"
