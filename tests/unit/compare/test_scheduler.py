"""The scheduler: how runs ended, the time left, and a comparison that stops, continues and takes no harm from one run."""

import fcntl
import json
import re
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.compare import scheduler
from semisonic.compare.jobs import Comparison
from semisonic.compare.scheduler import BUSY, Board, last_step, log_file, outcome, read_reason, seconds_left
from semisonic.distributed.launcher import DEATHS, Launcher
from semisonic.distributed.preemption import Preemption
from tests.support.comparisons import fabricate, job

QUICK = ["--device", "cpu", "--batch.labeled", "4", "--batch.unlabeled-ratio", "2", "--steps", "3", "--eval.every", "1",
         "--log.every", "1", "--checkpoint.every", "1", "--log.trackers", "none"]  # fmt: skip


def test_how_a_process_ended(tmp_path: Path):
    fabricate(done := job(tmp_path / "a"), top1=90.0)
    assert outcome(done, 0, 2.0).status == "finished"
    fabricate(made := job(tmp_path / "b"), status="failed", reason="the disk is full", lines=[{"step": 3}, {"step": 4}])
    assert [outcome(made, code, 1.0).status for code in (0, 75, -15, 130)] == ["stopped"] * 4
    assert outcome(made, 75, 1.0).message == "at step 5"  # of the checkpoint; the last line of figures is older
    failed = outcome(made, 2, 1.0)
    assert failed.status == "failed" and failed.message.startswith("the disk is full (exit code 2; its output is in ")
    assert "SIGSEGV" in outcome(made, -11, 1.0).message and "another process" in outcome(made, BUSY, 1.0).message
    assert f"remove {made.folder}" in outcome(made, 3, 1.0).message


def test_a_run_without_a_status_speaks_through_its_output(tmp_path: Path):
    made = job(tmp_path)
    assert read_reason(made) == "it printed nothing" and last_step(made.folder) == 0
    log_file(made).parent.mkdir(parents=True)
    log_file(made).write_text(
        "$ train.py a\nerror: old\n$ train.py b\nloading\nerror: data.root: nothing there\nerror: again\n"
    )
    assert read_reason(made) == "data.root: nothing there; again"
    log_file(made).write_text("$ train.py a\nTraceback\nValueError: 3\n\n")
    assert read_reason(made) == "ValueError: 3"


def test_the_time_left():
    assert seconds_left([], {}, 2) == 0 and seconds_left([("a", 10)], {}, 2) is None
    assert seconds_left([("a", 10), ("b", 10)], {"a": 1.0, "b": 2.0}, 1) == 30
    assert seconds_left([("a", 10), ("b", 10), ("c", 10)], {"a": 1.0, "b": 2.0}, 1) == 45  # the unknown as their mean
    assert seconds_left([("a", 10), ("a", 10), ("a", 100)], {"a": 1.0}, 3) == 100  # the longest decides


def test_a_comparison_hears_of_its_launcher_s_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    received = []

    class Dead(Launcher):
        def __init__(self) -> None:
            super().__init__()
            self.death = DEATHS["torchrun"]

    class NoWorkers:
        def __init__(self, asked: Comparison, show: Board, preemption: Preemption):
            received.append(preemption.received)

        def run(self, queue: list) -> list:
            return []

    monkeypatch.setattr(scheduler, "Launcher", Dead)
    monkeypatch.setattr(scheduler, "Workers", NoWorkers)
    cli.compare(["--algorithms", "supervised", "--out", str(tmp_path / "out"), *QUICK])
    assert received == [DEATHS["torchrun"]]


def test_a_comparison_stops_continues_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture):
    out = tmp_path / "out"
    argv = ["--algorithms", "supervised,fixmatch:threshold=0.3", "--seeds", "0,1", "--labels", "40", "--processes", "2",
            "--out", str(out), *QUICK]  # fmt: skip
    assert cli.compare(["--processes", "two"]) == 2
    assert cli.compare(["--report-only", "--out", str(out)]) == 2  # nothing there
    capfd.readouterr()
    assert cli.compare([*argv, "--seeds", "1", "--max-hours", "1e-9"]) == 75  # each stops after its first step
    err = capfd.readouterr().err
    assert err.count("stopped: at step 1") == 2 and "The same command continues" in err
    assert not (out / "compare.html").exists()

    # One run is at work elsewhere: it is left alone, and the others finish.
    with (out / "logs" / "supervised-40-seed1.log").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli.compare(argv) == 1
    printed = capfd.readouterr()
    assert "4 runs: 0 have ended already, 2 go on, 2 are new; 2 at a time" in printed.out
    assert "error: supervised-40-seed1: failed: another process is at work on it" in printed.err
    assert len(re.findall(r"^\[\d/4\] .*% error in", printed.out, re.MULTILINE)) == 3
    assert (out / "compare.html").exists()  # the table is written all the same

    assert cli.compare(argv) == 0
    assert "4 runs: 3 have ended already, 1 go on, 0 are new" in capfd.readouterr().out
    for path in (out / "runs").iterdir():
        assert json.loads((path / "summary.json").read_text())["step"] == 3
    lines = [
        json.loads(line)
        for line in (out / "runs" / "fixmatch+threshold=0.3-40-seed0" / "metrics.jsonl").read_text().splitlines()
    ]
    readings = [line for line in lines if "train/coverage" in line]
    assert [line["step"] for line in readings] == [1, 2, 3] and all(
        len(line["train/class_share"]) == 10 for line in readings
    )
    before = {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()}
    assert cli.compare(argv) == 0
    assert {path: path.read_bytes() for path in (out / "runs").rglob("*") if path.is_file()} == before
    assert cli.compare([*argv, "--steps", "4"]) == 2
    assert "use another --out" in capfd.readouterr().err
    (out / "compare.csv").unlink()
    assert cli.compare(["--report-only", "--out", str(out)]) == 0 and (out / "compare.csv").exists()


def test_a_run_that_fails_takes_no_other_along(tmp_path: Path, capfd: pytest.CaptureFixture):
    argv = ["--algorithms", "supervised:optim.lr=1e18,supervised", "--out", str(tmp_path), "--processes", "1", *QUICK]
    assert cli.compare(argv) == 1
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1 and "not finite at step" in err and "(exit code 3; its output is in" in err
    assert (tmp_path / "runs" / "supervised-40-seed0" / "summary.json").exists()
    assert "not finite at step" in (tmp_path / "compare.html").read_text()
    assert cli.compare(argv) == 1  # which would diverge again, and is not begun
    printed = capfd.readouterr()
    assert "2 have ended already, 0 go on, 0 are new" in printed.out and "to run it again, remove" in printed.err
