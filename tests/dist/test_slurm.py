"""launch/slurm/train.sbatch with an `srun` and a `scontrol` of the test's own: what is queued again, and what is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Start, free_port, wait_for
from tests.support.runs import SHORT_RUN

Submit = Callable[..., subprocess.Popen]
SCRIPT = ROOT / "launch" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do echo "$1" >> "$(dirname "$0")/options"; shift; done
[ "$SLURM_JOB_NUM_NODES" = 1 ] && exec "$@"
nodes=() code=0
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do "$@" & nodes+=($!); done
for signal in USR1 TERM; do trap "kill -s $signal ${nodes[*]}" "$signal"; done
for node in "${nodes[@]}"; do
  while wait "$node"; ended=$?; kill -0 "$node" 2>/dev/null; do :; done
  [ "$ended" -gt "$code" ] && code=$ended
done
exit "$code"
"""
SIGNAL = "kill -s USR1 $(cut -d ' ' -f 5 /proc/$$/stat)  # the leader of the group is the script"
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


def submit(start: Start, commands: Path, out: object, *fields: object, **variables: object) -> subprocess.Popen:
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"PATH": path, "SLURM_JOB_ID": 77, "SLURM_JOB_NODELIST": "n", "SLURM_JOB_NUM_NODES": 1, "SLURM_CPUS_ON_NODE": 6,
           "RANKS_PER_NODE": 2, "PORT": free_port()}  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return start("bash", SCRIPT, out, *fields, env=environment | {k: str(v) for k, v in (job | variables).items()})


@pytest.fixture
def sbatch(start: Start, commands: Path) -> Submit:
    """Starts the script as SLURM does, with its folder, fields, and variables of the environment."""
    return partial(submit, start, commands)


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
def test_what_is_queued_again(
    tmp_path: Path, commands: Path, sbatch: Submit, status: str, code: int | None, again: bool
):
    torchrun, out = commands / "torchrun", tmp_path / "run"
    content = json.dumps({"status": status, "step": 5, "exit_code": code})
    torchrun.write_text(
        f"#!/bin/bash\nmkdir -p {out}\n" + (f"echo '{content}' > {out}/status.json\n" if status else "") + "exit 1\n"
    )
    torchrun.chmod(0o755)
    job = sbatch(out)
    printed = job.communicate(timeout=60)[0]
    assert requeues(commands) == ["requeue 77"] * again, printed
    assert job.returncode == (0 if again else 1)
    # The same words from before the job are not its own: a start that failed at once is a mistake.
    torchrun.write_text("#!/bin/bash\nexit 1\n")
    assert sbatch(out).wait(timeout=60) == 1
    assert requeues(commands) == ["requeue 77"] * again


def test_requeues_have_a_maximum(tmp_path: Path, commands: Path, sbatch: Submit):
    out = tmp_path / "run"
    (commands / "torchrun").write_text(
        f'#!/bin/bash\nmkdir -p {out}; echo \'{{"status": "running", "exit_code": null}}\' > {out}/status.json; exit 9\n'
    )
    (commands / "torchrun").chmod(0o755)
    job = sbatch(out, MAX_REQUEUES=3, SLURM_RESTART_COUNT=3)
    assert "MAX_REQUEUES=3 is reached" in job.communicate(timeout=60)[0] and job.returncode == 9
    assert requeues(commands) == []


def test_options_in_place_of_a_folder(sbatch: Submit):
    job = sbatch("--data", "digits")
    assert "usage: sbatch" in job.communicate(timeout=60)[0] and job.returncode == 2


@pytest.mark.parametrize(("variables", "cores"), [({}, 6), ({"SLURM_CPUS_PER_TASK": 4}, 4)])
def test_a_node_s_ranks_have_its_cores(tmp_path: Path, commands: Path, sbatch: Submit, variables: dict, cores: int):
    (commands / "torchrun").write_text("#!/bin/bash\nexit 3\n")
    (commands / "torchrun").chmod(0o755)
    assert sbatch(tmp_path / "run", **variables).wait(timeout=60) == 3
    assert f"--cpus-per-task={cores}" in (commands / "options").read_text().splitlines()


@pytest.mark.parametrize("when", ["before the step", "in it"])
def test_a_signal_before_the_run_has_begun(tmp_path: Path, commands: Path, sbatch: Submit, when: str):
    (commands / "torchrun").write_text(f"#!/bin/bash\n{SIGNAL if when == 'in it' else ''}\nexec sleep 60\n")
    (commands / "torchrun").chmod(0o755)
    if when == "before the step":
        (commands / "scontrol").write_text(SCONTROL.replace("then", f"then\n{SIGNAL}\n"))
    job = sbatch(tmp_path / "run")
    assert "stopped by USR1 before it had begun" in job.communicate(timeout=50)[0]
    assert requeues(commands) == ["requeue 77"]


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_preempted_queued_again_resumed_finished(tmp_path: Path, commands: Path, sbatch: Submit, nodes: int):
    out = tmp_path / "run"
    fields = [*SHORT_RUN, "--no-baseline", "--steps", 150, "--eval.every", 150]
    variables = {"SLURM_JOB_NUM_NODES": nodes, "RANKS_PER_NODE": 2 // nodes}
    job = sbatch(out, *fields, **variables)
    wait_for(out / "checkpoints" / "latest", job)
    job.send_signal(signal.SIGUSR1)
    printed = job.communicate(timeout=200)[0]
    status = json.loads((out / "status.json").read_text())
    assert (status["status"], status["exit_code"], status["reason"]) == ("stopped", 75, "SIGUSR1"), printed[-3000:]
    assert status["step"] < 150 and requeues(commands) == ["requeue 77"]
    job = sbatch(out, *fields, **variables, SLURM_RESTART_COUNT=1)
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 0 and f"step-{status['step']}" in printed and "Resumed from" in printed, printed[-3000:]
    assert json.loads((out / "status.json").read_text())["status"] == "finished"
    assert json.loads((out / "summary.json").read_text())["world_size"] == 2
    assert requeues(commands) == ["requeue 77"]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck():
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
