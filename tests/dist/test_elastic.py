"""A rank killed in the middle of a step: the launcher starts the workers again and the run ends as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semisonic import elastic, folder
from semisonic.schema import UserError
from semisonic.divergence import Diverged
from tests.conftest import ROOT, Run
from tests.dist.test_resume import tensors

FIELDS = ["--device", "cpu", "--threads", "1", "--batch.labelled", "8", "--batch.unlabelled-ratio", "2", "--model", "wrn-10-1",
          "--steps", "40", "--checkpoint.every", "20", "--checkpoint.keep", "5", "--eval.every", "40", "--log.every", "5",
          "--no-baseline"]  # fmt: skip
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def rank_of(out: Path, rank: int) -> int:
    """Process id of a rank of the run in `out`."""
    for entry in Path("/proc").iterdir():
        try:
            ours = entry.name.isdigit() and str(out).encode() in (entry / "cmdline").read_bytes().split(b"\0")
            if ours and f"RANK={rank}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                return int(entry.name)
        except OSError:  # gone meanwhile
            continue
    raise AssertionError(f"there is no rank {rank}")


def kill_after_checkpoint(command: list[object], out: Path, rank: int) -> tuple[int, str]:
    """Runs a command, kills a rank once the checkpoint of step 20 stands, and returns how it ends and what it prints."""
    child = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (out / "checkpoints" / "latest").exists():
        assert child.poll() is None and time.monotonic() < deadline, "the run ended before its first checkpoint"
        time.sleep(0.002)
    os.kill(rank_of(out, rank), signal.SIGKILL)
    assert not (out / "checkpoints" / "step-40").exists()
    try:
        printed = child.communicate(timeout=200)[0]
    finally:
        child.terminate()
    return child.returncode, printed


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.full)])
def test_a_killed_rank_is_started_again_and_leaves_no_trace(tmp_path: Path, launch: Run, rank: int):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = launch("train.py", *FIELDS, "--out", whole, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    command = [*TORCHRUN, "--standalone", "--nproc_per_node", 2, "--max-restarts", 3, "launch/train.py", *FIELDS, "--out", killed]
    code, printed = kill_after_checkpoint(command, killed, rank)
    assert code == 0 and "Resumed from" in printed and "step-20" in printed, printed[-3000:]
    expected, found = tensors(whole), tensors(killed)
    assert found.keys() == expected.keys() and found != tensors(whole, 20)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert json.loads((killed / "status.json").read_text())["status"] == "finished"


@pytest.mark.full
def test_a_killed_rank_on_one_of_two_nodes(tmp_path: Path, launch: Run):
    """Each node has an agent of its own, and each of them counts its restarts for itself."""
    out = tmp_path / "run"
    command = [*TORCHRUN, "--nnodes", 2, "--nproc_per_node", 1, "--max-restarts", 3, "--rdzv-backend", "c10d",
               "--rdzv-id", "job", "--rdzv-endpoint", "localhost:29641", "launch/train.py", *FIELDS, "--out", out]  # fmt: skip
    other = subprocess.Popen([str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code, printed = kill_after_checkpoint(command, out, 1)
        assert code == 0 == other.wait(timeout=60), printed[-3000:]
    finally:
        other.terminate()
    assert json.loads((out / "status.json").read_text())["status"] == "finished"


@pytest.mark.full
def test_accelerate_passes_restarts_on(tmp_path: Path):
    out = tmp_path / "run"
    command = [Path(sys.executable).with_name("accelerate"), "launch", "--config_file", "launch/accelerate/multi-gpu.yaml",
               "--num_processes", 2, "--main_process_port", 0, "--max_restarts", 3, "launch/train.py", *FIELDS, "--out", out]  # fmt: skip
    code, printed = kill_after_checkpoint(command, out, 1)
    assert code == 0 and "Resumed from" in printed, printed[-3000:]


@pytest.mark.full
def test_a_run_that_was_there_before_is_refused_at_every_restart(tmp_path: Path, launch: Run):
    assert launch("train.py", *FIELDS, "--steps", 4, "--out", tmp_path).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    command = [*TORCHRUN, "--standalone", "--nproc_per_node", 2, "--max-restarts", 1, "launch/train.py", *FIELDS, "--out", tmp_path]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1 and done.stderr.count(f"error: out: {tmp_path} is in use") == 2
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


class Store(dict):
    """What elastic asks of the agents' store."""

    set = dict.__setitem__

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


def test_what_a_restarted_worker_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elastic, "job_store", lambda wait: None)
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert not elastic.continues(tmp_path)  # without a launcher
    store = Store()
    monkeypatch.setattr(elastic, "job_store", lambda wait: store)
    assert not elastic.continues(tmp_path)  # somebody else's run
    elastic.note(tmp_path)
    folder.write_status(tmp_path, "running", 3, 9)
    assert elastic.continues(tmp_path) and not elastic.continues(tmp_path / "other")
    folder.write_status(tmp_path, "failed", 3, 9, "RuntimeError: a rank is gone", 1)
    assert elastic.continues(tmp_path)
    folder.write_status(tmp_path, "failed", 3, 9, "UserError: data: two\nbatch: lines", 2)
    with pytest.raises(UserError) as error:
        elastic.continues(tmp_path)
    assert error.value.messages == ["data: two", "batch: lines"]
    folder.write_status(tmp_path, "failed", 3, 9, "Diverged: the loss was not finite", 3)
    with pytest.raises(Diverged, match="the loss was not finite"):
        elastic.continues(tmp_path)
    (tmp_path / "config.yaml").unlink()
    assert not elastic.continues(tmp_path)  # half made: it is made afresh
