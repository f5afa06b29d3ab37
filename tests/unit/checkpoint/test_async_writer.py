"""Checkpoints written beside the training: what they hold, and how their errors reach whoever trains."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from semisonic.checkpoint import async_writer as writer
from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.async_writer import CheckpointWriter
from semisonic.schema import UserError
from tests.support.checkpoints import state
from tests.support.processes import mounted


def checkpoint(weight: torch.Tensor, history: list | None = None) -> checkpoints.Checkpoint:
    return checkpoints.Checkpoint(
        {"w": weight}, {"network/w/momentum_buffer": 2 * weight}, state(history=history or []), "seed: 0\n"
    )


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writes begin when the event is set."""
    event, real = threading.Event(), checkpoints.save

    def save(*args, **keywords) -> Path:
        assert event.wait(60)
        return real(*args, **keywords)

    monkeypatch.setattr(checkpoints, "save", save)
    yield event
    event.set()


def test_a_checkpoint_is_of_its_moment_whatever_comes_after(tmp_path: Path, held: threading.Event):
    weight, history = torch.ones(3, 4, 2, 2).to(memory_format=torch.channels_last), [{"step": 1}]
    own = CheckpointWriter(tmp_path / "checkpoints", keep=2)
    own.submit(1, checkpoint(weight, history))
    weight.zero_()
    history.append({"step": 2})
    assert own.written() == [] and not (tmp_path / "checkpoints").exists()  # the training went on before the write
    held.set()
    own.finish()
    found = checkpoints.load_checkpoint(tmp_path)
    assert torch.equal(found.model["w"], torch.ones(3, 4, 2, 2)) and found.state["history"] == [{"step": 1}]
    assert torch.equal(found.optimizer["network/w/momentum_buffer"], torch.full((3, 4, 2, 2), 2.0))
    assert own.written() == [1] and own.written() == []


def test_one_write_at_a_time_and_one_copy_in_memory(tmp_path: Path, held: threading.Event):
    weight, own = torch.zeros(2, 3), CheckpointWriter(tmp_path / "checkpoints", keep=5)
    own.submit(1, checkpoint(weight))
    copied = own.model.tensors["w"]
    second = threading.Thread(target=own.submit, args=(2, checkpoint(weight + 1)))
    second.start()
    second.join(0.2)
    assert second.is_alive() and not copied.any()  # it waits, and leaves the copy that is being written alone
    held.set()
    second.join(60)
    own.finish()
    assert own.model.tensors["w"].data_ptr() == copied.data_ptr()
    assert [
        int(checkpoints.load_checkpoint(path).model["w"][0, 0]) for path in checkpoints.saved(tmp_path / "checkpoints")
    ] == [
        0,
        1,
    ]
    own.submit(3, checkpoint(torch.ones(5)))  # another shape
    own.finish()
    assert checkpoints.load_checkpoint(tmp_path).model["w"].shape == (5,) and own.written() == [1, 2, 3]


def test_who_waits_long_is_told_once(tmp_path: Path, held: threading.Event, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "PATIENCE", 0.01)
    said: list[str] = []
    own = CheckpointWriter(tmp_path / "checkpoints", keep=2, say=lambda text: (said.append(text), held.set()))
    own.submit(1000, checkpoint(torch.zeros(1)))
    own.finish()
    assert len(said) == 1 and said[0].startswith("waiting for the checkpoint of step 1,000")


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("surface", ["submit", "finish"])
def test_a_full_disk_is_told_once_and_the_last_good_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surface: str
):
    own = CheckpointWriter(tmp_path / "checkpoints", keep=1)
    for step in (1, 2):
        own.submit(step, checkpoint(torch.full((1,), float(step))), best=1)
    own.finish()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        own.submit(3000, checkpoint(torch.zeros(1)), best=1)
        own.settle()
    assert own.failed
    with pytest.raises(UserError) as caught:
        own.submit(4000, checkpoint(torch.zeros(1))) if surface == "submit" else own.finish()
    assert caught.value.messages == [
        "the checkpoint of step 3,000 could not be written: No space left on device "
        f"({tmp_path / 'checkpoints'}); step-2 is the last good one; free space, then --resume"
    ]
    own.finish()  # told once
    assert own.written() == [1, 2] and not own.failed
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["latest", "step-1", "step-2"]
    own.submit(4000, checkpoint(torch.zeros(1)), best=1)
    own.finish()
    assert checkpoints.latest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "step-4000"


def test_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = CheckpointWriter(tmp_path / "checkpoints", keep=1)
    own.submit(1, checkpoint(torch.zeros(1, dtype=torch.complex128)))
    with pytest.raises(TypeError, match="complex128"):
        own.finish()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        own.submit(2, checkpoint(torch.zeros(1)))
        with pytest.raises(UserError, match="there is none before it"):
            own.finish()
    own.submit(3, checkpoint(torch.zeros(1)))
    own.finish()

    def busy(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        own.submit(4, checkpoint(torch.zeros(1)))
        with pytest.raises(UserError, match=r"before step-4 cannot be removed: Operation not p.*; put this right"):
            own.finish()


def test_files_beside_the_checkpoints_are_guarded(tmp_path: Path):
    own = CheckpointWriter(tmp_path / "checkpoints", keep=1)
    for _ in range(2):
        with own.guard(tmp_path / "metrics.jsonl"):
            full()
    with pytest.raises(UserError) as caught:
        own.finish()
    assert caught.value.messages == [
        f"{tmp_path}/metrics.jsonl could not be written: No space left on device; there is no checkpoint yet; "
        "free space, then --resume"
    ]
    own.finish()
    with pytest.raises(ValueError, match="a mistake of ours"), own.guard(tmp_path):
        raise ValueError("a mistake of ours")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with mounted(tmp_path / "disk", "1m") as folder:
        yield folder


def test_a_disk_that_is_really_full(small_disk: Path):
    """Three checkpoints of 200 kB fit beside another file, the fourth does not."""
    own, folder = CheckpointWriter(small_disk / "checkpoints", keep=2), small_disk / "checkpoints"
    weights = torch.randn(25_000)
    for step in (1, 2):
        own.submit(step, checkpoint(weights + step), best=1)
    own.finish()
    (small_disk / "other").write_bytes(bytes(500_000))
    own.submit(3, checkpoint(weights + 3), best=1)
    with pytest.raises(UserError, match=r"step 3 could not .*: No space left on device .*step-2 is the last good"):
        own.finish()
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step-1", "step-2"]
    for step in (1, 2):
        assert torch.equal(checkpoints.load_checkpoint(folder / f"step-{step}").model["w"], weights + step)
    (small_disk / "other").unlink()
    own.submit(3, checkpoint(weights + 3), best=1)
    own.finish()
    assert [path.name for path in checkpoints.saved(folder)] == ["step-1", "step-2", "step-3"]


# Several ranks.


def rank_main(rank: int, folder: Path, results: "torch.multiprocessing.SimpleQueue") -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    own = CheckpointWriter(folder / "checkpoints", keep=1, group=dist.new_group(backend="gloo"))
    told: list[str] = []

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
            told.append("")
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")

    weights = [torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.complex128), torch.zeros(1)]
    for step, weight in enumerate(weights):
        if rank == 0:
            with pytest.MonkeyPatch.context() as patch:
                if step == 1:
                    patch.setattr(os, "write", full)
                own.submit(step, checkpoint(weight))
                own.settle()
        attempt(own.finish)
    results.put((rank, told))
    dist.destroy_process_group()


def test_an_error_of_rank_0_is_raised_on_every_rank(tmp_path: Path):
    context = torch.multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    ranks = [context.Process(target=rank_main, args=(rank, tmp_path, results)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    try:
        for rank in ranks:
            rank.join(120)
        assert [rank.exitcode for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    told = dict(results.get() for _ in ranks)
    assert told[0][0] == told[1][0] == told[0][3] == told[1][3] == ""
    assert told[0][1] == told[1][1] and told[0][1].startswith("UserError: the checkpoint of step 1 could not be w")
    assert told[0][2].startswith("TypeError") and told[1][2].startswith("RuntimeError: rank 0 failed: TypeError")
