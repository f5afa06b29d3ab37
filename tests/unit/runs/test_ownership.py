"""A run owns its folder: others are refused, and one that is moved or removed ends the run and is not made anew."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import semisonic
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.folder_lock import LOCK, FolderInUse, FolderLock
from semisonic.runs import run
from semisonic.runs.ownership import RunFolders
from semisonic.runs.run_folder import check_resumable
from semisonic.schema import UserError
from tests.support.command_line import config
from tests.support.processes import ROOT
from tests.support.python_data import TINY, digits

FIELDS: dict[str, Any] = TINY | {"network": "small", "baseline": False}


@pytest.fixture
def resumable(tmp_path: Path) -> Iterator[Any]:
    """The configuration of a run with a baseline, in whose folder there is one."""
    cfg = config("--baseline", "--out", tmp_path / "run")
    (tmp_path / "run" / "supervised").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    yield cfg
    assert not list(tmp_path.rglob(f"{LOCK}*"))


def test_a_run_that_goes_on_owns_its_folder_and_its_baseline_s(resumable: Any):
    with RunFolders() as folders:
        folders.begin(resumable, resume=True)
        folders.own(resumable.run_folder)  # has it already
        for folder in (resumable.run_folder, resumable.run_folder / "supervised"):
            with pytest.raises(FolderInUse), RunFolders() as other:
                other.own(folder)
            with pytest.raises(FolderInUse), RunFolders() as other:
                other.begin(config("--no-baseline", "--out", folder), resume=False)
        assert folders.problem is None
    with RunFolders() as other:
        other.begin(resumable, resume=True)


def test_a_start_that_is_refused_leaves_nothing(tmp_path: Path):
    new, used = config("--out", tmp_path / "a" / "new"), config("--out", tmp_path / "used")
    with RunFolders() as folders:
        folders.begin(new, resume=False)
        folders.begin(new, resume=True)  # there is no run, as it is said next
        assert not any(tmp_path.iterdir())
        (tmp_path / "used").mkdir()
        (tmp_path / "used" / "mine").touch()
        folders.begin(used, resume=False)
        with pytest.raises(UserError, match="is not empty"):
            folders.own_new(used)  # somebody has made it meanwhile
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["mine"]
    with RunFolders() as folders:
        folders.own_new(new)
        assert [path.name for path in new.run_folder.iterdir()] == [LOCK]


def test_what_a_killed_start_left_is_no_obstacle(tmp_path: Path):
    (tmp_path / LOCK).touch()
    (tmp_path / f"{LOCK}-half").touch()
    assert not check_resumable(config("--out", tmp_path), resume=False)


def test_a_folder_that_cannot_be_locked_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(FolderLock, "__init__", refused)
    with pytest.raises(UserError, match=f"out: {tmp_path} cannot be written: Read-only file system"):
        RunFolders().own(tmp_path)


def test_a_folder_is_free_once_its_last_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever ends the run meanwhile."""
    seen: list[bool] = []
    save, told = checkpoints.save, threading.Event()

    def slow(folder: Path, *rest: Any) -> Path:
        told.wait(20)  # until the run has ended, or for longer than it takes
        seen.append((tmp_path / "run" / LOCK).exists())
        return save(folder, *rest)

    def refused(*_: object, **__: object) -> None:
        if any(thread.name == "checkpoint of step 0" for thread in threading.enumerate()):
            told.set()
            raise UserError("status.json could not be written")

    semisonic.train(data=digits(), out=tmp_path / "first", **FIELDS)
    monkeypatch.setattr(checkpoints, "save", slow)
    monkeypatch.setattr(run, "write_status", refused)
    with pytest.raises(UserError, match=r"status\.json"):
        semisonic.train(data=digits(), out=tmp_path / "run", init=tmp_path / "first", **FIELDS)
    assert seen == [True] and not (tmp_path / "run" / LOCK).exists()


def test_a_second_run_of_a_process_is_refused_and_the_next_is_not(tmp_path: Path):
    """In another thread, in the middle of the first."""
    out, refused = tmp_path / "run", list[str]()

    def again() -> None:
        for resume in (False, True):
            with pytest.raises(UserError) as error:
                semisonic.train(data=digits(), resume=resume, out=out, **FIELDS)
            refused.extend(error.value.messages)

    def evaluated(_: dict[str, Any]) -> None:
        if not refused:
            thread = threading.Thread(target=again)
            thread.start()
            thread.join()

    semisonic.train(data=digits(), out=out, callback=evaluated, **FIELDS)
    expected = f"out: another run is at work in {out}: process {os.getpid()} on {os.uname().nodename}, since "
    assert len(refused) == 2 and all(line.startswith(expected) for line in refused)
    assert not (out / LOCK).exists()
    assert semisonic.train(data=digits(), out=out, resume=True, **FIELDS).metrics["step"] == TINY["steps"]


@pytest.mark.slow
def test_without_locks_of_the_file_system_a_run_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    seen: list[bool] = []
    semisonic.train(data=digits(), out=tmp_path, callback=lambda _: seen.append((tmp_path / LOCK).exists()), **FIELDS)
    assert all(seen) and not (tmp_path / LOCK).exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "end", ["moved", *(pytest.param(end, marks=pytest.mark.slow) for end in ("replaced", "removed"))]
)
def test_a_folder_that_goes_in_the_middle_ends_the_run(tmp_path: Path, end: str):
    out, place = tmp_path / "run", tmp_path / "elsewhere"
    fields = FIELDS | {"log": {"trackers": ["tensorboard"], "every": 1}, "checkpoint": {"every": 1}}

    def evaluated(_: dict[str, Any]) -> None:
        if end == "removed":
            while out.exists():  # as `rm -rf`, also where the writer's own clean-up takes files away meanwhile
                shutil.rmtree(out, ignore_errors=True)
            return
        for thread in threading.enumerate():
            if thread.name.startswith("checkpoint "):  # it found the folder to be the run's, and writes by name
                thread.join()
        out.rename(place)
        if end == "replaced":
            shutil.copytree(place, out)

    before: dict[str, bytes] = {}

    def watched(entry: dict[str, Any]) -> None:
        if not before:
            evaluated(entry)
            before.update(contents(out) or {"": b""})

    with pytest.raises(UserError) as error:
        semisonic.train(data=digits(), out=out, callback=watched, **fields)
    what = "was removed" if end == "removed" else f"was moved to {place}"
    (line,) = error.value.messages
    assert line.startswith(f"out: {out} {what} in the middle of the run") and error.value.exit_code == 2
    assert out.exists() == (end == "replaced")
    if end == "replaced":  # a copy of the run, which is not the run
        assert contents(out) == before
    if end != "removed":
        assert not (place / LOCK).exists()
        assert semisonic.train(data=digits(), out=place, resume=True, **fields).metrics["step"] == TINY["steps"]


def test_a_lock_that_is_lost_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As where a process stood still for long, and another host has taken its lock over."""
    out = tmp_path / "run"

    def evaluated(_: dict[str, Any]) -> None:
        holder = json.loads((out / LOCK).read_text())
        (out / LOCK).write_text(json.dumps(holder | {"host": "far", "pid": 7, "token": "other"}))

    with pytest.raises(UserError, match=f"out: {out} was taken over by process 7 on far, since .* ends here"):
        semisonic.train(data=digits(), out=out, callback=evaluated, **FIELDS)
    assert json.loads((out / "status.json").read_text())["status"] == "running"  # of the one that has it
    assert json.loads((out / LOCK).read_text())["host"] == "far"


@pytest.mark.slow
def test_a_run_is_read_while_it_replaces_its_checkpoints(tmp_path: Path):
    """By another process, over and over, a checkpoint a step."""
    out = tmp_path / "run"
    reader = subprocess.Popen([sys.executable, "-c", READ, out], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    try:
        fields = FIELDS | {"steps": 120, "checkpoint": {"every": 1, "keep": 1}, "eval": {"every": 120, "batch": 256}}
        semisonic.train(data=digits(), out=out, **fields)
        printed = reader.communicate(timeout=60)[0]
    finally:
        reader.kill()
    assert reader.returncode == 0 and int(printed) > 2, printed


READ = """
import sys, time
from pathlib import Path
import semisonic
out, count = Path(sys.argv[1]), 0
while not (out / "checkpoints/latest").exists():
    time.sleep(0.01)
while not (out / "summary.json").exists():
    semisonic.load(out)
    count += 1
print(count)
"""
"""Loads the network of a run over and over until that has finished."""
