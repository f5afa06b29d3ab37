"""Nothing that only shows a run ends it: what fails is told once, by its name, and left out."""

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import TensorBoardTracker

from semisonic import cli
from semisonic.reporting import console
from semisonic.reporting.reporters import Reporters
from semisonic.training import trainer
from tests.support.runs import QUICK

FIELDS = [*QUICK, "--model", "small", "--no-baseline", "--steps", "2", "--eval.every", "2", "--log.every", "1",
          "--checkpoint.every", "1"]  # fmt: skip


def test_one_that_fails_is_told_once_and_left_out(capsys: pytest.CaptureFixture):
    done: list[str] = []
    reporters = Reporters()

    def fail() -> None:
        done.append("tried")
        raise ConnectionError("no route\n to \x1b[31mhost")

    for step in (3, 4):
        reporters.later("wandb", step, fail)
        reporters.later("console", step, done.append, f"step {step}")
    reporters.report()
    assert done == ["tried", "step 3", "step 4"] and not reporters.attempt("wandb", 5, fail)
    told = "from step 3 on: ConnectionError: no route to \\x1b[31mhost"
    assert capsys.readouterr().err == f"warning: wandb is left out {told}\n"
    assert reporters.summary() == [f"wandb was left out {told}"]


def test_what_comes_once_is_tried_again_and_a_user_s_signal_passes_through(capsys: pytest.CaptureFixture):
    tries: list[int] = []

    def once_full() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("full")

    assert Reporters().attempt_again("picture", 1, once_full) and len(tries) == 2 and capsys.readouterr().err == ""

    def interrupted() -> None:
        raise KeyboardInterrupt

    for attempt in (Reporters().attempt, Reporters().attempt_again):
        with pytest.raises(KeyboardInterrupt):
            attempt("picture", 1, interrupted)


def test_a_run_ends_well_whatever_its_reporters_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    run, there = tmp_path / "run", []

    def fail(*_: Any, **__: Any) -> None:
        there.append((run / "checkpoints" / "step-2").exists())
        raise RuntimeError("cannot be shown")

    with monkeypatch.context() as patch:
        patch.setattr(TensorBoardTracker, "log", fail)
        patch.setattr(TensorBoardTracker, "finish", fail)
        patch.setattr(trainer, "save_confusion", fail)
        patch.setattr(console.ProgressLines, "trained", fail)
        assert cli.main([*FIELDS, "--out", str(run)]) == 0
    shown = capfd.readouterr()
    why = "RuntimeError: cannot be shown"
    assert [line for line in shown.err.splitlines() if line.startswith("warning: ")] == [
        f"warning: tensorboard is left out from step 1 on: {why}",
        f"warning: console is left out from step 1 on: {why}",
        f"warning: confusion.png is left out from step 2 on: {why}",
    ]
    assert f"tensorboard was left out from step 1 on: {why}" in shown.out and "Test accuracy" in shown.out
    assert json.loads((run / "status.json").read_text())["status"] == "finished"
    assert there == [False, False, True, True], "the picture comes after the last checkpoint, and is tried twice"
    assert not (run / "confusion.png").exists()
    (run / "summary.json").unlink()  # as where a run was killed before its picture
    assert cli.main(["--resume", "--out", str(run)]) == 0 and (run / "confusion.png").exists()
