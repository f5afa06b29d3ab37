"""The rank that all others wait for is named, among ranks that all take as long."""

from pathlib import Path

import pytest

from semisonic.reporting.metrics_file import read_metrics
from tests.support.processes import Run
from tests.support.trainers import FIELDS


@pytest.mark.long
def test_a_rank_that_sleeps_in_its_loader_is_named(tmp_path: Path, launch: Run):
    fields = ["--model", "small", "--steps", "40", "--log.every", "5", "--eval.every", "40", "--out", tmp_path / "run"]
    done = launch("../tests/dist/slow_rank.py", *FIELDS, *fields, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if "is the slowest" in line]
    assert "rank 1 is the slowest" in line and "of its time it waits for data" in line
    named = [entry["straggler/rank"] for entry in read_metrics(tmp_path / "run" / "metrics.jsonl")
             if "straggler/rank" in entry]  # fmt: skip
    assert named and set(named) == {1}
