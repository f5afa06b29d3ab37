"""A rank killed in the middle of a step: the launcher starts the workers again and the run ends as if nothing had been."""

import json
import sys
from pathlib import Path

import pytest

from semisonic.distributed import elastic
from semisonic.distributed.consistency import Diverged
from semisonic.runs import run_folder as folder
from semisonic.schema import UserError
from tests.support.processes import Run, Start, free_port, wait_for
from tests.support.runs import SHORT_RUN, tensors

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
KILLED = "tests/dist/killed.py"
"""In place of launch/train.py: kills itself."""


@pytest.mark.long
@pytest.mark.parametrize("rank", [1, 0])
def test_a_killed_rank_is_started_again_and_leaves_no_trace(tmp_path: Path, start: Start, launch: Run, rank: int):
    """With the baseline, which the process group outlives."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = launch("train.py", *SHORT_RUN, "--out", whole, processes=2)
    assert done.returncode == 0, done.stderr[-2000:]
    job = start(
        *TORCHRUN, "--standalone", "--nproc_per_node", 2, "--max-restarts", 3, KILLED, rank, *SHORT_RUN, "--out", killed
    )
    printed = job.communicate(timeout=300)[0]
    assert job.returncode == 0 and "Resumed from" in printed and "step-20" in printed, printed[-3000:]
    assert (tmp_path / f"killed.{rank}.killed").exists()
    expected, found = tensors(whole), tensors(killed)
    assert found.keys() == expected.keys() and found != tensors(whole, 20)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert json.loads((killed / "status.json").read_text())["status"] == "finished"
    results = [json.loads((run / "summary.json").read_text()) for run in (whole, killed)]
    assert results[0]["test_top1"] == results[1]["test_top1"]


@pytest.mark.long
def test_a_killed_rank_on_one_of_two_nodes(tmp_path: Path, start: Start):
    """Each node has an agent of its own, and each of them counts its restarts for itself."""
    out = tmp_path / "run"
    command = [*TORCHRUN, "--nnodes", 2, "--nproc_per_node", 1, "--max-restarts", 3, "--rdzv-backend", "c10d", "--rdzv-id", "job",
               "--rdzv-endpoint", f"localhost:{free_port()}", KILLED, 1, *SHORT_RUN, "--no-baseline", "--out", out]  # fmt: skip
    nodes = [start(*command, stdout=(tmp_path / f"node{number}").open("w")) for number in range(2)]
    ended = [node.wait(timeout=200) for node in nodes]
    assert ended == [0, 0], "\n".join((tmp_path / f"node{number}").read_text()[-3000:] for number in range(2))
    assert (tmp_path / "run.1.killed").exists()
    assert json.loads((out / "status.json").read_text())["status"] == "finished"


@pytest.mark.long
def test_accelerate_passes_restarts_on(tmp_path: Path, start: Start):
    out = tmp_path / "run"
    job = start(Path(sys.executable).with_name("accelerate"), "launch", "--config_file", "launch/accelerate/multi-gpu.yaml",
                "--num_processes", 2, "--main_process_port", 0, "--max_restarts", 3, KILLED, 1, *SHORT_RUN, "--no-baseline",
                "--out", out)  # fmt: skip
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 0 and "Resumed from" in printed and (tmp_path / "run.1.killed").exists(), printed[-3000:]


@pytest.mark.long
def test_a_run_that_was_there_before_is_refused_at_every_restart(tmp_path: Path, start: Start, launch: Run):
    assert launch("train.py", *SHORT_RUN, "--no-baseline", "--steps", 4, "--out", tmp_path).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    job = start(*TORCHRUN, "--standalone", "--nproc_per_node", 2, "--max-restarts", 1, "launch/train.py", *SHORT_RUN, "--no-baseline",
                "--out", tmp_path)  # fmt: skip
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 1 and printed.count(f"error: out: {tmp_path} is not empty") == 2
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


@pytest.mark.long
def test_a_folder_that_is_moved_is_not_made_anew_by_a_restart(tmp_path: Path, start: Start):
    out, place = tmp_path / "run", tmp_path / "elsewhere"
    fields = [*SHORT_RUN, "--no-baseline", "--checkpoint.every", 1]
    job = start(
        *TORCHRUN, "--standalone", "--nproc_per_node", 2, "--max-restarts", 1, "launch/train.py", *fields, "--out", out
    )
    wait_for(out / "checkpoints" / "latest", job)
    out.rename(place)
    printed = job.communicate(timeout=200)[0]
    assert job.returncode == 1 and not out.exists(), printed[-3000:]
    assert printed.count(f"error: out: {out} was moved to {place} in the middle of the run") == 2, printed[-3000:]
    again = start(sys.executable, "launch/train.py", *fields, "--out", place, "--resume")
    assert again.wait(timeout=200) == 0


class Store(dict):
    """What elastic asks of the agents' store."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


def test_what_a_restarted_worker_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(elastic, "job_store", lambda wait: None)
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert not elastic.was_begun(tmp_path)  # without a launcher
    store = Store()
    monkeypatch.setattr(elastic, "job_store", lambda wait: store)
    assert not elastic.was_begun(tmp_path)  # somebody else's run
    elastic.record_run(tmp_path)
    folder.write_status(tmp_path, "running", 3, 9)
    assert elastic.was_begun(tmp_path) and not elastic.was_begun(tmp_path / "other")
    folder.write_status(tmp_path, "failed", 3, 9, "RuntimeError: a rank is gone", 1)
    assert elastic.was_begun(tmp_path)
    folder.write_status(tmp_path, "failed", 3, 9, "UserError: data: two\nbatch: lines", 2)
    with pytest.raises(UserError) as error:
        elastic.was_begun(tmp_path)
    assert error.value.messages == ["data: two", "batch: lines"]
    folder.write_status(tmp_path, "failed", 3, 9, "Diverged: the loss was not finite", 3)
    with pytest.raises(Diverged, match="the loss was not finite"):
        elastic.was_begun(tmp_path)
    (tmp_path / "config.yaml").unlink()
    assert not elastic.was_begun(tmp_path)  # half made: it is made afresh
    elastic.record_loss(tmp_path, "out: it was moved")
    with pytest.raises(UserError, match="out: it was moved"):
        elastic.was_begun(tmp_path)  # and is not made anew
