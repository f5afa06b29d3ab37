"""The campaign over all named faults: what it walks, a part of it, and, in the tier `long`, the whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from semisonic.faults import POINTS
from tests.dist.campaign import Campaign, Lines, Outcome, Trial, report, text_of, trials
from tests.dist.lives import ALGORITHMS
from tests.support.processes import ROOT

FEW = {
    1: ["split.write:1", "config.rename:1", "gradients.before:6", "metrics.full:3", "latest.rename:1", "kept.fsync:1",
        "checkpoint.delete:1", "snapshot-model.write:2"],
    2: ["gradients.inside:9@1", "outcome.before:1@0"],
}  # fmt: skip
"""Faults that a run meets one after the other, on so many ranks. Lines are cut back where a kill came between them and
their checkpoint."""


def test_every_point_is_walked_once_on_one_and_once_on_two_ranks():
    every = trials()
    assert sorted(trial.key for trial in every) == sorted(f"{point} {world}" for point in POINTS for world in (1, 2))
    walked = {(trial.algorithm, trial.world) for trial in every}
    assert walked == {(algorithm, world) for algorithm in ALGORITHMS for world in (1, 2)}
    assert 0.3 < sum(bool(trial.second) for trial in every) / len(every) < 0.4


def test_outcomes_are_kept_and_done_again_where_they_were_not_fine(tmp_path: Path):
    lines = Lines(tmp_path / "faults.lines")
    content = {
        "world": 1,
        "fault": "step.kill:3@0",
        "struck": ["step.kill:3"],
        "second": "",
        "compared": 2,
        "seconds": 1.0,
    }
    lines.add("step.kill 1", False, {**content, "problem": "Lost: a checkpoint", "equal": False})
    lines.add("step.hang 1", True, {**content, "problem": "", "equal": True})
    again = Lines(tmp_path / "faults.lines")
    assert again.done("step.hang 1") and not again.done("step.kill 1") and not again.done("step.kill 2")
    found = report(again)
    assert (found["survived"], found["lost"], found["unequal"]) == (1, 1, 1) and found["points reached on 1 rank"] == 2
    assert len(found["not walked"]) == 2 * len(POINTS) - 2 and json.loads(text_of(found)) == found
    again.add("step.kill 1", True, {**content, "problem": "", "equal": True})
    assert report(Lines(tmp_path / "faults.lines"))["survived"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_survives_a_few_of_the_faults(tmp_path: Path, world: int):
    campaign = Campaign(tmp_path)
    outcome = Outcome(Trial("", world, "fixmatch"))
    campaign.meet(campaign.ground("fixmatch", world), tmp_path / f"fixmatch-{world}" / "run", FEW[world], outcome)
    assert outcome.struck == [fault.partition("@")[0] for fault in FEW[world]]


@pytest.mark.long
def test_a_run_survives_every_fault(tmp_path: Path):
    out = tmp_path / "faults.json"
    command = [sys.executable, ROOT / "tests" / "dist" / "campaign.py", "--out", out, "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(out.read_text())
    assert done.returncode == 0 and found["problems"] == found["not walked"] == [], done.stderr[-3000:]
    assert found["points reached on 1 rank"] == found["points reached on 2 ranks"] == len(POINTS)
    assert found["lost"] == found["unequal"] == 0 and found["kills at random moments"] >= 100
