"""Nothing trains on without its launcher, and every other parent may go."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.dist.launchers import CASES, Case, end
from tests.support.processes import ROOT, Start, wait_for


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if i < 1 else pytest.mark.long) for i, case in enumerate(CASES)],
    ids=lambda case: f"{case.launcher}, {case.signal.name}".replace(", ", "-").replace(" ", "-"),
)  # fmt: skip
def test_ranks_end_with_a_checkpoint_when_their_launcher_does(tmp_path: Path, start: Start, case: Case):
    outcome = end(case, tmp_path / "run", start)
    assert (outcome["left"], outcome["code"]) == (0, 75), outcome
    forwarded = case.signal == signal.SIGTERM and "2" in case.launcher
    name = case.launcher.partition(",")[0]
    assert outcome["reason"] == ("SIGTERM" if forwarded else f"the death of its launcher {name}")


@pytest.mark.long
@pytest.mark.parametrize("command", ["nohup", "setsid"])
def test_a_run_goes_on_when_its_shell_has_gone(tmp_path: Path, start: Start, command: str):
    """Whatever variables of launchers the shell has exported."""
    out, script = tmp_path / "run", ROOT / "launch" / "train.py"
    fields = ["--device", "cpu", "--threads", "1", "--model", "small", "--batch.labeled", "8", "--steps", "30",
              "--batch.unlabeled-ratio", "2", "--no-baseline", "--checkpoint.every", "5", "--log.trackers", "none"]  # fmt: skip
    line = " ".join(map(str, [command, sys.executable, script, *fields, "--out", out, "& read line"]))
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": "no"}
    shell = start("bash", "-c", line, env=environment, stdin=-1)
    wait_for(out / "checkpoints" / "latest", shell)
    shell.kill()
    printed = shell.communicate(timeout=200)[0]  # its end is the run's, which has the pipe
    assert json.loads((out / "status.json").read_text())["status"] == "finished", printed
