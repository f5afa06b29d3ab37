"""Where manifests are kept: in a cache where the folder cannot be written, and by one process at a time."""

import errno
import fcntl
import json
import os
import pwd
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semisonic.checkpoint.folder_lock import LOCK, FolderLock
from semisonic.data.sets import cache, manifest
from semisonic.data.sets.cache import cache_folder, locked
from semisonic.data.sets.manifest import scan
from semisonic.schema import Stopped, UserError
from semisonic.stopping import heard
from tests.support.image_folders import encoded, files, load_it, write_all, write_images


def test_a_folder_that_cannot_be_written_uses_the_cache(tmp_path: Path, monkeypatch, decoded: list[str]):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_all(tmp_path / "data", {})
    (tmp_path / "data/.semisonic").write_text("a file, so that the folder cannot be made")
    load_it(tmp_path / "data")
    assert len(list((tmp_path / "cache/semisonic/manifests").glob("*.npz"))) == 1
    load_it(tmp_path / "data")
    assert len(decoded) == 3


def test_a_manifest_that_can_only_be_read_is_used(tmp_path: Path, monkeypatch, decoded: list[str]):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_all(tmp_path / "data", {})
    load_it(tmp_path / "data")
    monkeypatch.setattr(os, "access", lambda *_: False)
    decoded.clear()
    load_it(tmp_path / "data")
    assert decoded == []
    write_images(tmp_path / "data/train/a", "new.png")
    load_it(tmp_path / "data")
    load_it(tmp_path / "data")
    assert decoded == ["new.png"]


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    with pytest.raises(UserError, match=r"^data.root: this user has no home folder .*; name one, or set HOME$"):
        cache_folder()


def test_tests_and_the_commands_that_they_start_leave_the_user_s_cache_alone(tmp_path_factory: pytest.TempPathFactory):
    own = Path(os.environ["XDG_CACHE_HOME"])  # which commands inherit
    assert own.is_relative_to(tmp_path_factory.getbasetemp()) and cache_folder() == own / "semisonic"


@pytest.mark.parametrize("home", ["none", "read-only"])
def test_where_nothing_can_be_kept_the_images_are_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str], home: str
):
    cache._say_once.cache_clear()
    if home == "none":
        monkeypatch.delenv("HOME")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(pwd, "getpwuid", lambda _: (_ for _ in ()).throw(KeyError("uid not found")))
    else:
        (tmp_path / "cache").write_text("a file, so that nothing can be made in it")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_all(tmp_path / "data", {})
    (tmp_path / "data/.semisonic").write_text("a file, so that the folder cannot be made")
    with pytest.warns(UserWarning, match="cannot be kept, and they are all read again each time: .*set XDG_CACHE_HOME"):
        load_it(tmp_path / "data")
    load_it(tmp_path / "data")
    assert len(decoded) == 6


def test_a_disk_that_fills_up_takes_no_scan_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(manifest, "write_bytes", full)
    write_all(tmp_path, {})
    with pytest.warns(UserWarning, match="cannot be written: No space left on device; they are read again next time"):
        load_it(tmp_path)
    assert len(decoded) == 3


def test_ranks_that_start_together_decode_once(tmp_path: Path, decoded: list[str]):
    write_all(tmp_path, {f"x{i}.png": encoded("RGB", "PNG") for i in range(30)})
    with ThreadPoolExecutor(4) as ranks:
        loaded = list(ranks.map(lambda _: load_it(tmp_path), range(4)))
    assert len(decoded) == 33
    assert all(files(data.train) == files(loaded[0].train) for data in loaded)


@pytest.mark.parametrize("dead", [False, True])
def test_without_locks_ranks_take_turns_all_the_same(tmp_path: Path, monkeypatch, decoded: list[str], dead: bool):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_all(tmp_path, {f"x{i}.png": encoded("RGB", "PNG") for i in range(30)})
    if dead:  # a scan that was killed
        (tmp_path / ".semisonic").mkdir()
        lock = FolderLock(tmp_path / ".semisonic")
        lock.release()
        (tmp_path / ".semisonic" / LOCK).write_text(json.dumps(lock.holder._asdict()))
    with ThreadPoolExecutor(4) as ranks:
        loaded = list(ranks.map(lambda _: load_it(tmp_path), range(4)))
    assert len(decoded) == 33 and not (tmp_path / ".semisonic" / LOCK).exists()
    assert all(files(data.train) == files(loaded[0].train) for data in loaded)


def test_a_folder_that_is_only_looked_at_stays_as_it_is(tmp_path: Path, monkeypatch, decoded: list[str]):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_images(tmp_path / "data", "a.png b.png")
    for _ in range(2):
        scan(tmp_path / "data", ["a.png", "b.png"], write_inside=False)
    assert decoded == ["a.png", "b.png"] and sorted(os.listdir(tmp_path / "data")) == ["a.png", "b.png"]


def test_who_waits_for_another_scan_can_be_stopped(tmp_path: Path):
    file = tmp_path / "manifest.npz"
    lines = ["import sys", "from pathlib import Path", "from semisonic.data.sets.cache import locked",
             f"with locked(Path({str(file)!r})):", " print(1, flush=True)", " sys.stdin.read()"]  # fmt: skip
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with heard(lambda: "SIGTERM"), pytest.raises(Stopped), locked(file):
            pass
        other.communicate()
    with heard(lambda: "SIGTERM"), locked(file):
        pass  # it is free
