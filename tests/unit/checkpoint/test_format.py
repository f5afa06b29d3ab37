"""Checkpoints: whole or not there, whatever the moment of a kill."""

import errno
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.schema import UserError
from tests.support.checkpoints import state


def checkpoint(value: float) -> checkpoints.Checkpoint:
    model = {"network.weight": torch.full((2, 3), value), "step": torch.tensor(int(value))}
    return checkpoints.Checkpoint(
        model, {"network/weight/momentum_buffer": torch.ones(2, 3)}, state(step=int(value)), "seed: 0\n"
    )


def test_round_trip(tmp_path: Path):
    path = checkpoints.save(tmp_path, 7, checkpoint(7), keep=2)
    loaded = checkpoints.load_checkpoint(path)
    assert torch.equal(loaded.model["network.weight"], torch.full((2, 3), 7.0))
    assert loaded.model["step"].dtype == torch.int64 and loaded.state["step"] == 7
    assert loaded.config == "seed: 0\n"


def test_strides_and_shared_memory_are_no_obstacle(tmp_path: Path):
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    given = checkpoints.Checkpoint({"a": weight, "b": weight}, {}, state(), "")
    loaded = checkpoints.load_checkpoint(checkpoints.save(tmp_path, 1, given, keep=1)).model
    assert torch.equal(loaded["a"], weight) and torch.equal(loaded["b"], weight)


def test_old_ones_are_pruned_and_the_pointer_moves(tmp_path: Path):
    for step in (1, 2, 10):
        checkpoints.save(tmp_path, step, checkpoint(step), keep=2)
    assert [path.name for path in checkpoints.saved(tmp_path)] == ["step-2", "step-10"]
    assert checkpoints.latest(tmp_path) == tmp_path / "step-10"


def test_checkpoints_behind_which_a_run_went_back_are_removed(tmp_path: Path):
    """A kill between the rename and the pointer leaves a later checkpoint that `latest` does not name."""
    checkpoints.save(tmp_path, 200, checkpoint(200), keep=1)
    checkpoints.save(tmp_path / "other", 290, checkpoint(290), keep=1)
    (tmp_path / "other" / "step-290").rename(tmp_path / "step-290")
    (tmp_path / "step-200-copy").mkdir()  # a user's own folder is left alone
    assert checkpoints.latest(tmp_path) == tmp_path / "step-200"
    checkpoints.save(tmp_path, 250, checkpoint(250), keep=1)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-250" and checkpoints.saved(tmp_path) == [
        tmp_path / "step-250"
    ]
    (tmp_path / "other" / "step-290").mkdir(exist_ok=True)
    checkpoints.save(tmp_path / "other", 300, checkpoint(300), keep=1)
    (tmp_path / "other" / "step-300").rename(tmp_path / "step-300")  # of the abandoned way, and not named by `latest`
    checkpoints.save(tmp_path, 300, checkpoint(301), keep=1)
    assert (
        checkpoints.load_checkpoint(tmp_path / "step-300").state["step"] == 301
        and (tmp_path / "step-200-copy").is_dir()
    )


def test_the_best_one_is_kept(tmp_path: Path):
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path, step, checkpoint(step), keep=1, best=2 if step > 1 else 1)
    assert [path.name for path in checkpoints.saved(tmp_path)] == ["step-2", "step-4"]


def test_leftovers_of_a_kill_are_ignored_and_removed(tmp_path: Path):
    checkpoints.save(tmp_path, 1, checkpoint(1), keep=2)
    (tmp_path / ".tmp-step-2").mkdir()
    (tmp_path / ".tmp-step-2" / "model.safetensors").write_bytes(b"half")
    assert checkpoints.latest(tmp_path) == tmp_path / "step-1"
    checkpoints.save(tmp_path, 3, checkpoint(3), keep=2)
    assert not (tmp_path / ".tmp-step-2").exists()


CALLS = ("write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
"""What changes a file system in `checkpoints.save`."""


def watch(setter: Callable, moment: int, act: Callable[[], None]) -> None:
    """Has the `moment`-th call of `CALLS` from now on act first; a write first writes half of what it should."""
    calls = 0

    def watched(name: str, function: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == moment:
                if name == "write":
                    function(args[0], args[1][: len(args[1]) // 2])
                act()
            return function(*args, **kwargs)

        return wrapper

    for name in CALLS:
        setter(os, name, watched(name, getattr(os, name)))


def before(folder: Path) -> None:
    """A run that has gone back: steps 1 (the best), 2 and 3 (named), and 4 and 5, which a kill kept from being named."""
    for step in (1, 2, 3):
        checkpoints.save(folder, step, checkpoint(step), keep=2, best=1)
    for step in (4, 5):
        checkpoints.save(folder / "other", step, checkpoint(step), keep=2)
        (folder / "other" / f"step-{step}").rename(folder / f"step-{step}")
    shutil.rmtree(folder / "other")
    (folder / ".tmp-step-9").mkdir()
    (folder / ".tmp-step-9" / "model.safetensors").write_bytes(b"half")


def check_whole(folder: Path, *expected: int) -> int:
    """Loads all checkpoints; the latest is one of the expected, and the best is there. Returns the latest."""
    for path in checkpoints.saved(folder):
        step = int(path.name.removeprefix("step-"))
        loaded = checkpoints.load_checkpoint(path)
        assert loaded.state["step"] in (step, 40) and torch.equal(
            loaded.model["network.weight"], torch.full((2, 3), float(loaded.state["step"]))
        )
    found = checkpoints.latest(folder)
    assert found is not None and (folder / "step-1").is_dir()
    step = checkpoints.load_checkpoint(found).state["step"]
    assert step in expected
    return step


def save_and_die(folder: Path, moment: int) -> None:
    """Saves step 4 anew, and kills itself in the middle of a write or before another call."""
    watch(setattr, moment, lambda: os.kill(os.getpid(), signal.SIGKILL))
    checkpoints.save(folder, 4, checkpoint(40), keep=2, best=1)


def test_a_kill_at_any_write_leaves_a_whole_checkpoint(tmp_path: Path):
    """Kills the writer at each of its writes, syncs, renames and removals in turn, and loads what is left."""
    before(tmp_path / "0")
    kills, steps = 0, set()
    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "0", folder)
        child = multiprocessing.get_context("fork").Process(target=save_and_die, args=(folder, moment))
        child.start()
        child.join()
        steps.add(check_whole(folder, 3, 40))
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
        checkpoints.save(folder, 4, checkpoint(40), keep=2, best=1)  # the run goes on
        assert check_whole(folder, 40) and not list(folder.glob(".*"))
    assert child.exitcode == 0 and kills >= 40 and steps == {3, 40}
    assert [path.name for path in checkpoints.saved(folder)] == ["step-1", "step-3", "step-4"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_refusal_at_any_write_leaves_a_whole_checkpoint(tmp_path: Path, number: int):
    before(tmp_path / "0")

    refused = []

    def refuse() -> None:
        refused.append(moment)
        raise OSError(number, os.strerror(number))

    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "0", folder)
        with pytest.MonkeyPatch.context() as patch:
            watch(patch.setattr, moment, refuse)
            try:
                checkpoints.save(folder, 4, checkpoint(40), keep=2, best=1)
            except OSError as error:
                assert error.errno == number
        if moment not in refused:
            break
        check_whole(folder, 3, 40)
        assert not (folder / ".tmp-step-4").exists()  # its space is free again
        checkpoints.save(folder, 4, checkpoint(40), keep=2, best=1)
        assert check_whole(folder, 40) and not list(folder.glob(".*"))
    assert len(refused) > 40


def test_readers_remove_nothing(tmp_path: Path):
    """What looks like a leftover may be what a living run is writing."""
    before(tmp_path)
    left = sorted(tmp_path.rglob("*"))
    checkpoints.load_checkpoint(tmp_path)
    assert checkpoints.find(tmp_path) == tmp_path / "step-3" and sorted(tmp_path.rglob("*")) == left


def test_an_old_one_that_a_reader_keeps_open_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On NFS, a folder with an open file cannot be removed."""

    def refuse(path: str, **keywords: object) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    checkpoints.save(tmp_path, 1, checkpoint(1), keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse)
        checkpoints.save(tmp_path, 2, checkpoint(2), keep=1)
    assert checkpoints.saved(tmp_path) == [tmp_path / "step-2"] and (tmp_path / ".tmp-old-step-1").exists()
    checkpoints.save(tmp_path, 3, checkpoint(3), keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step-3"]


@pytest.mark.parametrize("name", [*checkpoints.FILES, "manifest.json"])
@pytest.mark.parametrize("damage", ["lost", "empty", "short", "flipped", "zeros"])
def test_a_damaged_checkpoint_is_refused_and_the_way_back_is_named(tmp_path: Path, name: str, damage: str):
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, checkpoint(step), keep=3)
    file = tmp_path / "step-3" / name
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes({"empty": b"", "short": content[:-1], "zeros": bytes(len(content))}.get(damage, flipped))
    if damage == "lost":
        file.unlink()
    (tmp_path / "step-2" / "model.safetensors").write_bytes(b"damaged as well")
    for path in (tmp_path, tmp_path / "step-3"):
        with pytest.raises(UserError, match="not a readable checkpoint") as caught:
            checkpoints.load_checkpoint(path)
        (line,) = caught.value.messages
        assert name in line or (name, damage) == ("manifest.json", "flipped")  # of which any entry may be wrong now
        assert line.endswith(f"step-1 is whole; to continue from it: echo step-1 > {tmp_path}/latest")
    (tmp_path / "latest").write_text("step-1\n")  # as the message says
    assert checkpoints.load_checkpoint(tmp_path).state["step"] == 1
    checkpoints.save(tmp_path, 2, checkpoint(2), keep=3)
    assert [checkpoints.load_checkpoint(path).state["step"] for path in checkpoints.saved(tmp_path)] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"step-9\n", b"\xff", b"..", b"."])
def test_a_damaged_pointer_is_refused_and_the_way_back_is_named(tmp_path: Path, content: bytes):
    for step in (1, 2):
        checkpoints.save(tmp_path, step, checkpoint(step), keep=3)
    (tmp_path / "latest").write_bytes(content)
    with pytest.raises(
        UserError, match=r"latest (is damaged|names .* not there); step-2 is whole; to continue from it"
    ):
        checkpoints.load_checkpoint(tmp_path)
    (tmp_path / "step-2" / "state.json").unlink()
    with pytest.raises(UserError, match="step-1 is whole"):
        checkpoints.latest(tmp_path)


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="neither a checkpoint nor a run"):
        checkpoints.load_checkpoint(tmp_path)
    path = checkpoints.save(tmp_path, 1, checkpoint(1), keep=1)
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoints.load_checkpoint(path)
    (path / "state.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        checkpoints.load_checkpoint(path)


def test_a_reader_beside_the_writer(tmp_path: Path):
    """Every checkpoint replaces the one before: whoever reads takes one that is there, and never advice on damage."""
    (tmp_path / "checkpoints").mkdir()
    folder, ended, read = tmp_path / "checkpoints", threading.Event(), list[int]()
    checkpoints.save(folder, 1, checkpoint(1), keep=1)

    def write() -> None:
        for step in itertools.count(2):
            checkpoints.save(folder, step, checkpoint(step), keep=1)
            if ended.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(set(read)) < 12:
            read.append(checkpoints.load_checkpoint(tmp_path).state["step"])
    finally:
        ended.set()
        writer.join()
    assert read == sorted(read)
    gone = folder / "step-1"
    with pytest.raises(UserError, match="step-1: neither a checkpoint"):
        checkpoints.load_checkpoint(gone)


def test_a_checkpoint_that_goes_between_two_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Which the library that opens them says in its own way."""
    checkpoints.save(tmp_path, 1, checkpoint(1), keep=1)
    load_tensors = checkpoints.load_tensors

    def slow(path: Path) -> dict[str, torch.Tensor]:
        if path.parent.name == "step-1":
            checkpoints.save(tmp_path, 2, checkpoint(2), keep=1)
        return load_tensors(path)

    monkeypatch.setattr(checkpoints, "load_tensors", slow)
    assert checkpoints.load_checkpoint(tmp_path).state["step"] == 2


def test_a_checkpoint_that_goes_while_it_is_read(tmp_path: Path):
    """The latest is read anew; one that was named is missed; and what is damaged is told at once."""
    first = checkpoints.save(tmp_path, 1, checkpoint(1), keep=1)
    read: list[str] = []

    def slow(path: Path) -> str:
        read.append(path.name)
        if path == first:
            checkpoints.save(tmp_path, 2, checkpoint(2), keep=1)
        return (path / "config.yaml").read_text()

    assert checkpoints.read_latest(tmp_path, slow) and read == ["step-1", "step-2"]
    shutil.copytree(tmp_path / "step-2", first)
    with pytest.raises(UserError, match="step-1 was removed while it was read; name the run for its latest"):
        checkpoints.read_latest(first, slow)

    def damaged(path: Path) -> None:
        read.append(path.name)
        raise UserError("damaged")

    read.clear()
    with pytest.raises(UserError, match="damaged"):
        checkpoints.read_latest(tmp_path, damaged)
    assert len(read) == 1


def test_a_checkpoint_that_is_written_while_another_rank_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The pointer moves, and what it named is removed, between two looks of the rank."""
    checkpoints.save(tmp_path, 1, checkpoint(1), keep=1)
    saved, moved = checkpoints.saved, []

    def between(folder: Path) -> list[Path]:
        if not moved:
            moved.append(True)
            checkpoints.save(folder, 2, checkpoint(2), keep=1)
        return saved(folder)

    monkeypatch.setattr(checkpoints, "saved", between)
    assert checkpoints.latest(tmp_path) == tmp_path / "step-2" and moved
