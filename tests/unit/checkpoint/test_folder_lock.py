"""The lock on a folder: who gets it, when it is another's, and how it ends, with `flock` and without."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semisonic.checkpoint import folder_lock
from semisonic.checkpoint.folder_lock import LOCK, FolderInUse, FolderLock, Holder, refuse_if_held
from tests.support.processes import ROOT

HOLD = """
import sys, time
from pathlib import Path
from semisonic.checkpoint.folder_lock import FolderLock
if sys.argv[2:]:
    import fcntl
    def no(*_): raise OSError(37, "No locks available")
    fcntl.flock = no
FolderLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(100)
"""


@pytest.fixture(params=["flock", "no flock", "no flock, no links"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do."""

    def refused(number: int):
        def call(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return call

    if "no flock" in request.param:
        monkeypatch.setattr(fcntl, "flock", refused(errno.ENOLCK))
    if "no links" in request.param:
        monkeypatch.setattr(os, "link", refused(errno.EPERM))
    return request.param


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RENEWED": 0.05, "EXPIRED": 0.6, "LOOK": 0.02}.items():
        monkeypatch.setattr(folder_lock, name, seconds)


@contextmanager
def another_process(folder: Path, *options: str) -> Iterator[subprocess.Popen]:
    """A process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def held_by(folder: Path, **changed: object) -> Holder:
    """Leaves a lock of another holder in a folder."""
    lock = FolderLock(folder)
    lock.release()
    holder = lock.holder._replace(**{"token": "other", **changed})  # type: ignore[arg-type]
    (folder / LOCK).write_text(json.dumps(holder._asdict()))
    return holder


def test_one_process_at_a_time_and_its_end_frees_it(tmp_path: Path, kind: str):
    with another_process(tmp_path, *kind.split()[1:]) as process:
        for take in (FolderLock, refuse_if_held):
            with pytest.raises(FolderInUse) as error:
                take(tmp_path)
            assert f"out: another run is at work in {tmp_path}: process {process.pid} on {os.uname().nodename}, since 20" in str(error.value)  # fmt: skip
            assert len(error.value.messages) == 1 and error.value.exit_code == 2
        process.kill()
        process.wait()
        refuse_if_held(tmp_path)
        said: list[str] = []
        lock = FolderLock(tmp_path, said.append)
        assert not said  # nobody waits for the lease of a dead process
        assert lock.problem() is None
        lock.release()
    assert not any(tmp_path.iterdir())


def test_two_threads_of_a_process_and_one_after_the_other(tmp_path: Path, kind: str):
    first = FolderLock(tmp_path)
    with pytest.raises(FolderInUse, match=f"process {os.getpid()} on"):
        FolderLock(tmp_path)
    assert first.problem() is None
    first.release()
    second = FolderLock(tmp_path)
    second.release()


@pytest.mark.parametrize("left", ["nothing", "lock", "lock and claim", "claim"])
def test_of_many_that_find_what_the_dead_have_left_one_gets_it(tmp_path: Path, kind: str, left: str):
    holder = held_by(tmp_path, ticks=1)
    if left in ("nothing", "claim"):
        (tmp_path / LOCK).unlink()
    if "claim" in left:  # of one that was killed while it took the folder, and of one that was then
        dead = [json.dumps(holder._replace(token=token)._asdict()) for token in ("first", "second")]
        claims = [folder_lock._claim(folder_lock.look(tmp_path / LOCK)),
                  folder_lock._claim(folder_lock.Look(dead[0].encode(), 0, None))]  # fmt: skip
        for name, content in zip(claims, dead, strict=True):
            (tmp_path / name).write_text(content)
    got, refused, begin = [], [], threading.Barrier(8)

    def take() -> None:
        begin.wait()
        try:
            got.append(FolderLock(tmp_path))
        except FolderInUse as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 7
    assert got[0].problem() is None
    got[0].release()
    assert not any(tmp_path.iterdir())


def test_another_host_s_lock_is_watched(tmp_path: Path, kind: str):
    """Renewed, it is in use, whatever the clocks say; left alone, it is given up."""
    said: list[str] = []
    held_by(tmp_path, host="far", boot="another", pid=7)
    refuse_if_held(tmp_path)  # nothing is known of it, and this does not wait
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.05):
            os.utime(tmp_path / LOCK, (10, time.monotonic()))  # a clock that is decades behind

    other = threading.Thread(target=renew)
    other.start()
    with pytest.raises(FolderInUse, match="process 7 on far"):
        FolderLock(tmp_path, said.append)
    ended.set()
    other.join()
    begin = time.monotonic()
    lock = FolderLock(tmp_path, said.append)
    assert time.monotonic() - begin > folder_lock.EXPIRED and len(said) == 2
    assert "has the lock of process 7 on far" in said[0]
    lock.release()


def test_a_container_s_lock_is_free_where_the_kernel_says_so(tmp_path: Path, kind: str):
    """The number of its process says nothing here. Without `flock` it is as one of another host."""
    said: list[str] = []
    held_by(tmp_path, numbers="pid:[7]")
    if kind == "flock":
        with (tmp_path / LOCK).open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for take in (FolderLock, refuse_if_held):
                with pytest.raises(FolderInUse):
                    take(tmp_path)
    FolderLock(tmp_path, said.append).release()
    assert bool(said) == (kind != "flock")


def test_a_lease_is_renewed_and_made_again_where_somebody_removes_it(tmp_path: Path, kind: str):
    lock = FolderLock(tmp_path)
    os.utime(tmp_path / LOCK, (10, 10))
    deadline = time.monotonic() + 20
    while (tmp_path / LOCK).stat().st_mtime < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / LOCK).unlink()
    assert lock.problem() is None
    while not (tmp_path / LOCK).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(FolderInUse):
        FolderLock(tmp_path)
    lock.release()


def test_a_lock_that_was_taken_over_is_noticed_and_left(tmp_path: Path):
    lock = FolderLock(tmp_path)
    other = json.dumps(lock.holder._replace(host="far", pid=7, token="other")._asdict())
    (tmp_path / "new").write_text(other)
    os.replace(tmp_path / "new", tmp_path / LOCK)
    problem = lock.problem()
    assert problem and f"out: {tmp_path} was taken over by process 7 on far, since" in problem
    lock.release()
    assert (tmp_path / LOCK).read_text() == other


def test_a_folder_that_is_moved_replaced_or_removed_is_noticed(tmp_path: Path):
    folder, place = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    lock = FolderLock(folder)
    folder.rename(place)
    for _ in range(2):
        problem = lock.problem()
        assert problem and f"{folder} was moved to {place} in the middle" in problem and f"--out {place}" in problem
        folder.mkdir(exist_ok=True)  # another in its place is not the run's
    shutil.rmtree(place)
    folder.rmdir()
    problem = lock.problem()
    assert problem and f"out: {folder} was removed in the middle" in problem
    lock.release()
    assert not any(tmp_path.iterdir())


def test_a_moved_folder_is_left_without_a_lock(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    lock = FolderLock(folder)
    folder.rename(tmp_path / "moved")
    lock.release()
    assert not any((tmp_path / "moved").iterdir())


def test_what_is_half_written_counts_as_another_host_s(tmp_path: Path):
    (tmp_path / LOCK).write_text('{"host": "far"')
    said: list[str] = []
    lock = FolderLock(tmp_path, said.append)
    assert "has the lock of a process that it does not name" in said[0]
    lock.release()


def test_what_a_kill_left_beside_the_lock_is_removed(tmp_path: Path):
    holder = held_by(tmp_path, ticks=1)
    (tmp_path / f"{LOCK}-left").write_text(json.dumps(holder._asdict()))
    lock = FolderLock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    lock.release()


def test_a_forked_child_holds_nothing(tmp_path: Path):
    """Its copy of the open file would keep the lock after the parent's death."""
    lock = FolderLock(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.fstat(lock._file)
        except OSError:
            os.write(writing, b"closed")
        lock.release()  # what a context would do: it is the parent's
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"closed" and (tmp_path / LOCK).exists() and lock.problem() is None
    lock.release()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("kind", ["no flock"], indirect=True)
def test_a_dead_process_that_nobody_has_asked_for_is_dead(tmp_path: Path, kind: str):
    with another_process(tmp_path, kind) as process:
        process.kill()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        FolderLock(tmp_path).release()


def test_a_process_that_dies_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its lock is held until the kernel has ended all of it: a thread of it may be in the middle of a write."""
    held_by(tmp_path, ticks=1)
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.2)
    with (tmp_path / LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refuse_if_held(tmp_path)
        with pytest.raises(FolderInUse):
            FolderLock(tmp_path)
        monkeypatch.setattr(folder_lock, "PATIENCE", 20)
        threading.Timer(0.2, lambda: fcntl.flock(other, fcntl.LOCK_UN)).start()
        FolderLock(tmp_path).release()
