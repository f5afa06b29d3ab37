"""Whole runs: stopped, killed, failed or begun from weights, they end and continue as they must."""

import errno
import fcntl
import json
import os
import pwd
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import semisonic
from semisonic import cli
from semisonic.config.migrations import read_saved
from semisonic.data.sets import manifest
from tests.support.image_folders import encoded, write_all, write_images
from tests.support.runs import QUICK
from tests.support.two_roles import TWO_ROLES


def test_config_yaml_reproduces_the_run(run: Path, tmp_path: Path):
    again = tmp_path / "again"
    assert cli.main(["--config", str(run / "config.yaml"), "--no-baseline", "--out", str(again)]) == 0
    first, second = (json.loads((folder / "summary.json").read_text()) for folder in (run, again))
    assert first["test_top1"] == second["test_top1"]
    assert (run / "split.npz").read_bytes() == (again / "split.npz").read_bytes()


def test_a_finished_run_is_not_run_again(run: Path, capfd: pytest.CaptureFixture):
    before = (run / "metrics.jsonl").read_bytes()
    assert cli.main(["--resume", "--out", str(run)]) == 0
    assert "is finished" in capfd.readouterr().out and (run / "metrics.jsonl").read_bytes() == before


def test_max_hours_ends_with_a_checkpoint_and_resumes(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--out", str(tmp_path / "run")]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    assert "max_hours" in capfd.readouterr().out and (tmp_path / "run" / "checkpoints" / "step-1").is_dir()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "stopped" and status["step"] == 1 and not (tmp_path / "run" / "summary.json").exists()
    assert cli.main([*fields, "--resume", "--max-hours", "null"]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["step"] == 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_images_are_checked_ends_the_run_before_it_begins(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    write_all(tmp_path / "images", {})
    checked, real = [], manifest.examine

    def examine(path: str, *known: Any) -> manifest.Examined | None:
        checked.append(path)
        os.kill(os.getpid(), number)
        return real(path, *known)

    monkeypatch.setattr(manifest, "examine", examine)
    root, out = str(tmp_path / "images"), tmp_path / "run"
    assert cli.main([*QUICK, "--data", "folder", "--data.root", root, "--data.size", "16", "--out", str(out)]) == 75
    assert capfd.readouterr().err == f"error: stopped by {number.name} before anything was written\n"
    assert len(checked) == 1 and not out.exists() and not list(tmp_path.rglob("manifest.npz"))
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else semisonic.UserError):
        semisonic.train(data={"name": "folder", "root": root, "size": 16}, device="cpu", out=out, quiet=True)


@pytest.mark.slow
def test_a_run_inside_of_its_flat_data_folder_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("cat", "dog"):
        write_images(tmp_path / name, [f"{i}.png" for i in range(6)])
    monkeypatch.chdir(tmp_path)
    own = ["--data", "folder", "--data.root", ".", "--data.size", "16", "--model", "small", "--batch.labeled", "2"]
    command = [*QUICK, *own, "--steps", "2", "--no-baseline", "--log.trackers", "none", "--out", "runs/a"]
    assert cli.main([*command, "--max-hours", "1e-9"]) == 0
    assert json.loads(Path("runs/a/status.json").read_text())["step"] == 1
    assert cli.main([*command, "--resume", "--max-hours", "null"]) == 0
    assert json.loads(Path("runs/a/summary.json").read_text())["step"] == 2
    assert read_saved(Path("runs/a")).fields["data"]["classes"] == ["cat", "dog"]


def test_a_stop_during_the_baseline_keeps_the_configuration(tmp_path: Path):
    out = tmp_path / "run"
    fields = [*QUICK, "--log.trackers", "none", "--algorithm.threshold", "0.7", "--out", str(out)]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    assert "threshold: 0.7" in (out / "config.yaml").read_text()
    assert json.loads((out / "status.json").read_text())["status"] == "stopped"
    assert cli.main(["--resume", "--out", str(out), "--max-hours", "null"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["step"] == summary["baseline"]["step"] == 30
    (out / "status.json").unlink()  # killed between summary and status
    assert cli.main(["--resume", "--out", str(out)]) == 0
    assert json.loads((out / "status.json").read_text())["status"] == "finished"


def test_a_failed_baseline_is_the_run_s_failure(tmp_path: Path):
    assert cli.main([*QUICK, "--log.trackers", "none", "--optim.lr", "1e18", "--out", str(tmp_path / "run")]) == 3
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["status"] == "failed" and status["exit_code"] == 3


def test_what_a_kill_left_behind_the_last_checkpoint_is_tidied_up(tmp_path: Path):
    """The run has nothing left to train, and so no checkpoint to write, before which it would be."""
    out = tmp_path / "run"
    assert cli.main([*QUICK, "--no-baseline", "--log.trackers", "none", "--steps", "2", "--out", str(out)]) == 0
    (out / "summary.json").unlink()
    (out / "checkpoints" / ".tmp-old-step-1").mkdir()
    assert cli.main(["--resume", "--out", str(out)]) == 0
    assert (out / "summary.json").exists() and not (out / "checkpoints" / ".tmp-old-step-1").exists()


def test_init_is_part_of_the_run(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture):
    """Stopped during the baseline, the main run still starts from the given weights."""
    fields = [*QUICK, "--log.trackers", "none", "--init", str(run), "--out", str(tmp_path / "run")]
    assert cli.main([*fields, "--max-hours", "1e-9"]) == 0
    capfd.readouterr()
    assert cli.main(["--resume", "--out", str(tmp_path / "run"), "--max-hours", "null"]) == 0
    assert "Initialized" in capfd.readouterr().out


def test_init_survives_a_resume_before_the_first_checkpoint(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, losses = tmp_path / "run", []
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--log.every", "1", "--steps", "3", "--out", str(out)]
    monkeypatch.setattr("semisonic.training.trainer.Trainer.train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main([*fields, "--init", str(run)])
    monkeypatch.undo()
    assert cli.main([*fields, "--resume"]) == 0
    losses = [
        json.loads(line)["train/loss"]
        for line in (out / "metrics.jsonl").read_text().splitlines()
        if "train/loss" in line
    ]
    assert losses[0] < 2.0  # an untrained network starts at ln 10 or above


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture):
    fields = [*QUICK, "--no-baseline", "--log.trackers", "none", "--optim.lr", "1e18", "--out", str(tmp_path / "run")]
    assert cli.main(fields) == 3
    assert "not finite at step" in capfd.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"


def test_a_table_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path):
    from semisonic.cli import main

    (tmp_path / "table.npy").write_bytes(b"")
    fields = [
        "--no-baseline",
        "--device",
        "cpu",
        *TWO_ROLES,
        "--algorithm.variant",
        "reduced",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*fields, "--algorithm.predictions", str(tmp_path / "table.npy")]) == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_run_and_a_prediction_need_no_home_no_locks_and_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, number: int
):
    def nobody(_: int) -> None:
        raise KeyError("getpwuid(): uid not found: 12345")

    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    data, run = tmp_path / "data", tmp_path / "run"
    write_all(data, {"2.png": encoded("RGB", "PNG")})
    (data / ".semisonic").write_text("a file, so that nothing can be kept in the folder")
    fields = ["--data", "folder", "--data.root", str(data), "--data.size", "16", "--batch.labeled", "2", "--steps", "1"]
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = [
            cli.main([*QUICK, *fields, "--model", "small", "--no-baseline", "--out", str(run)]),
            cli.predict([str(run), str(data / "test"), "--out", str(tmp_path / "p.csv")]),
        ]
        monkeypatch.undo()
    assert done == [0, 0] and json.loads((run / "status.json").read_text())["status"] == "finished"
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 2
    told = capfd.readouterr().err
    assert "warning: what is printed is lost from here on" in told and "Traceback" not in told
