"""launch/slurm/train.sbatch with an `srun` and a `scontrol` of the test's own: what is queued again, and what is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.dist.test_elastic import FIELDS

SCRIPT = ROOT / "launch" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo localhost; else echo "$@" >> "$(dirname "$0")/calls"; fi
"""


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder of commands, before all others on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def start(commands: Path, out: Path, *fields: object, **variables: object) -> subprocess.Popen:
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"SLURM_JOB_ID": 77, "SLURM_JOB_NODELIST": "n", "SLURM_JOB_NUM_NODES": 1, "RANKS_PER_NODE": 2, "PORT": 29655}
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in (job | variables).items()}
    return subprocess.Popen(
        ["bash", str(SCRIPT), str(out), *map(str, fields)], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def requeues(commands: Path) -> list[str]:
    calls = commands / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        ("stopped", 75, True), ("stopped", 0, False), ("failed", 4, True), ("failed", 2, False), ("failed", 3, False),
        ("failed", 1, False), ("running", None, True), ("finished", 0, False), ("", None, False),
    ],
)  # fmt: skip
def test_what_is_queued_again(tmp_path: Path, commands: Path, status: str, code: int | None, again: bool):
    torchrun, out = commands / "torchrun", tmp_path / "run"
    content = json.dumps({"status": status, "step": 5, "exit_code": code})
    torchrun.write_text(f"#!/bin/bash\nmkdir -p {out}\n" + (f"echo '{content}' > {out}/status.json\n" if status else "") + "exit 1\n")
    torchrun.chmod(0o755)
    job = start(commands, out)
    printed = job.communicate(timeout=60)[0]
    assert requeues(commands) == ["requeue 77"] * again, printed
    assert job.returncode == (0 if again else 1)
    # The same words from before the job are not its own: a start that failed at once is a mistake.
    torchrun.write_text("#!/bin/bash\nexit 1\n")
    assert start(commands, out).wait(timeout=60) == 1
    assert requeues(commands) == ["requeue 77"] * again


def test_requeues_have_a_maximum(tmp_path: Path, commands: Path):
    out = tmp_path / "run"
    (commands / "torchrun").write_text(f"#!/bin/bash\nmkdir -p {out}; echo '{{\"status\": \"running\", \"exit_code\": null}}' > {out}/status.json; exit 9\n")
    (commands / "torchrun").chmod(0o755)
    job = start(commands, out, MAX_REQUEUES=3, SLURM_RESTART_COUNT=3)
    assert "MAX_REQUEUES=3 is reached" in job.communicate(timeout=60)[0] and job.returncode == 9
    assert requeues(commands) == []


def test_options_in_place_of_a_folder(tmp_path: Path, commands: Path):
    job = start(commands, "--data", "digits")  # type: ignore[arg-type]
    assert "usage: sbatch" in job.communicate(timeout=60)[0] and job.returncode == 2


def test_a_signal_before_the_run_has_begun(tmp_path: Path, commands: Path):
    (commands / "torchrun").write_text(f"#!/bin/bash\ntouch {tmp_path}/started\nexec sleep 60\n")
    (commands / "torchrun").chmod(0o755)
    job = start(commands, tmp_path / "run")
    while not (tmp_path / "started").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    assert "stopped by USR1 before it had begun" in job.communicate(timeout=50)[0]
    assert requeues(commands) == ["requeue 77"]


def test_preempted_queued_again_resumed_finished(tmp_path: Path, commands: Path):
    out = tmp_path / "run"
    fields = [*FIELDS, "--steps", 150, "--eval.every", 150]
    job = start(commands, out, *fields)
    deadline = time.monotonic() + 200
    while not (out / "checkpoints" / "latest").exists():
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    printed = job.communicate(timeout=200)[0]
    status = json.loads((out / "status.json").read_text())
    assert (status["status"], status["exit_code"], status["reason"]) == ("stopped", 75, "SIGUSR1"), printed[-3000:]
    assert status["step"] < 150 and requeues(commands) == ["requeue 77"]
    job = start(commands, out, *fields, SLURM_RESTART_COUNT=1)
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 0 and f"step-{status['step']}" in printed and "Resumed from" in printed, printed[-3000:]
    assert json.loads((out / "status.json").read_text())["status"] == "finished"
    assert requeues(commands) == ["requeue 77"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck():
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
