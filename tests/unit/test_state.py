"""Checkpoints: whole or not there, whatever the moment of a kill."""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semisonic import state
from semisonic.schema import UserError


def checkpoint(value: float) -> state.Checkpoint:
    model = {"network.weight": torch.full((2, 3), value), "step": torch.tensor(int(value))}
    return state.Checkpoint(model, {"network/weight/momentum_buffer": torch.ones(2, 3)}, {"step": value}, "seed: 0\n")


def test_round_trip(tmp_path: Path):
    path = state.save(tmp_path, 7, checkpoint(7), keep=2)
    loaded = state.load(path)
    assert torch.equal(loaded.model["network.weight"], torch.full((2, 3), 7.0))
    assert loaded.model["step"].dtype == torch.int64 and loaded.state["step"] == 7
    assert loaded.config == "seed: 0\n"


def test_strides_and_shared_memory_are_no_obstacle(tmp_path: Path):
    weight = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    given = state.Checkpoint({"a": weight, "b": weight}, {}, {}, "")
    loaded = state.load(state.save(tmp_path, 1, given, keep=1)).model
    assert torch.equal(loaded["a"], weight) and torch.equal(loaded["b"], weight)


def test_old_ones_are_pruned_and_the_pointer_moves(tmp_path: Path):
    for step in (1, 2, 10):
        state.save(tmp_path, step, checkpoint(step), keep=2)
    assert [path.name for path in state.saved(tmp_path)] == ["step-2", "step-10"]
    assert state.latest(tmp_path) == tmp_path / "step-10"


def test_checkpoints_behind_which_a_run_went_back_are_removed(tmp_path: Path):
    """A kill between the rename and the pointer leaves a later checkpoint that `latest` does not name."""
    state.save(tmp_path, 200, checkpoint(200), keep=1)
    state.save(tmp_path / "other", 290, checkpoint(290), keep=1)
    (tmp_path / "other" / "step-290").rename(tmp_path / "step-290")
    (tmp_path / "step-200-copy").mkdir()  # a user's own folder is left alone
    assert state.latest(tmp_path) == tmp_path / "step-200"
    state.save(tmp_path, 250, checkpoint(250), keep=1)
    assert state.latest(tmp_path) == tmp_path / "step-250" and state.saved(tmp_path) == [tmp_path / "step-250"]
    (tmp_path / "other" / "step-290").mkdir(exist_ok=True)
    state.save(tmp_path / "other", 300, checkpoint(300), keep=1)
    (tmp_path / "other" / "step-300").rename(tmp_path / "step-300")  # of the abandoned way, and not named by `latest`
    state.save(tmp_path, 300, checkpoint(301), keep=1)
    assert state.load(tmp_path / "step-300").state["step"] == 301 and (tmp_path / "step-200-copy").is_dir()


def test_the_best_one_is_kept(tmp_path: Path):
    for step in (1, 2, 3, 4):
        state.save(tmp_path, step, checkpoint(step), keep=1, best=2 if step > 1 else 1)
    assert [path.name for path in state.saved(tmp_path)] == ["step-2", "step-4"]


def test_leftovers_of_a_kill_are_ignored_and_removed(tmp_path: Path):
    state.save(tmp_path, 1, checkpoint(1), keep=2)
    (tmp_path / ".tmp-step-2").mkdir()
    (tmp_path / ".tmp-step-2" / "model.safetensors").write_bytes(b"half")
    assert state.latest(tmp_path) == tmp_path / "step-1"
    state.save(tmp_path, 3, checkpoint(3), keep=2)
    assert not (tmp_path / ".tmp-step-2").exists()


def save_and_die(folder: Path, moment: int) -> None:
    """Saves step 2, and kills itself before the `moment`-th write, sync, rename or removal."""
    calls = 0

    def watched(function: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    places = ((os, "fsync"), (os, "rename"), (os, "replace"), (state, "save_file"), (shutil, "rmtree"))
    for owner, name in places:
        setattr(owner, name, watched(getattr(owner, name)))
    state.save(folder, 2, checkpoint(2), keep=1)


def test_a_kill_at_any_write_leaves_a_whole_checkpoint(tmp_path: Path):
    """Kills the writer before each of its writes, syncs, renames and removals in turn, and loads what is left."""
    kills, steps = 0, set()
    for moment in range(1, 40):
        folder = tmp_path / str(moment)
        state.save(folder, 1, checkpoint(1), keep=1)
        child = multiprocessing.get_context("fork").Process(target=save_and_die, args=(folder, moment))
        child.start()
        child.join()
        found = state.latest(folder)
        assert found is not None
        loaded = state.load(found)
        step = loaded.state["step"]
        assert step in (1, 2) and torch.equal(loaded.model["network.weight"], torch.full((2, 3), float(step)))
        steps.add(step)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    assert child.exitcode == 0 and kills >= 10 and steps == {1, 2}


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="neither a checkpoint nor a run"):
        state.load(tmp_path)
    path = state.save(tmp_path, 1, checkpoint(1), keep=1)
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        state.load(path)
    (path / "state.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        state.load(path)
