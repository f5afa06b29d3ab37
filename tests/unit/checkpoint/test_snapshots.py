"""Snapshots of a run: when they are taken, what they hold, and that a run that goes on has the same."""

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

import semisonic
from semisonic import cli
from semisonic.checkpoint import snapshots
from semisonic.checkpoint.async_writer import CheckpointWriter
from semisonic.checkpoint.format import Checkpoint, load_checkpoint
from semisonic.schema import ExitCode, UserError
from tests.support.checkpoints import state
from tests.support.runs import tensors

FIELDS = [
    "--device", "cpu", "--threads", "1", "--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "1",
    "--no-baseline", "--steps", "8", "--checkpoint.every", "3", "--checkpoint.keep", "9", "--eval.every", "8",
    "--log.every", "8", "--log.trackers", "none",
]  # fmt: skip


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: (path / "model.safetensors").read_bytes() for path in snapshots.saved(run)}


def test_they_are_spread_over_the_second_half():
    assert snapshots.due(400, 10) == tuple(range(220, 401, 20))
    assert snapshots.due(8, 3) == (6, 7, 8) and snapshots.due(9, 2) == (7, 9) and snapshots.due(1, 5) == (1,)
    assert snapshots.due(400, 0) == ()


def test_the_weights_are_those_of_the_averaged_network_with_its_head():
    model = dict.fromkeys(
        ["ema.a", "ema.head.b", "network.a", "ema_heads.x.w", "ema_headsy", "addons.x.w"], torch.ones(1)
    )
    assert snapshots.averaged(model, None).keys() == {"ema.a", "ema.head.b"}
    assert snapshots.averaged(model, {"ema": "ema_heads.x"}).keys() == {"ema.a", "ema.head.b", "ema_heads.x.w"}


def test_a_run_has_the_same_with_and_without_an_end_in_between(tmp_path: Path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert cli.main([*FIELDS, "--checkpoint.snapshots", "3", "--out", str(whole)]) == ExitCode.OK
    assert list(weights(whole)) == ["step-6", "step-7", "step-8"]

    # The last is the run's network, and used as one.
    last, end = (load_checkpoint(whole / folder / "step-8") for folder in ("snapshots", "checkpoints"))
    assert last.optimizer == {} and last.model.keys() == {name for name in end.model if name.startswith("ema.")}
    assert all(torch.equal(value, end.model[name]) for name, value in last.model.items())
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    assert torch.equal(semisonic.load(whole / "snapshots" / "step-8")(images), semisonic.load(whole)(images))

    # Begun without: nothing of the training depends on them. Then it goes back behind one that is not the run's own.
    hook = register_optimizer_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert cli.main([*FIELDS, "--out", str(resumed)]) == ExitCode.STOPPED and not (resumed / "snapshots").exists()
    hook.remove()
    for stale in ("step-7", "step-2", ".tmp-step-6"):
        shutil.copytree(whole / "snapshots" / "step-6", resumed / "snapshots" / stale)
    assert cli.main([*FIELDS, "--checkpoint.snapshots", "3", "--out", str(resumed), "--resume"]) == ExitCode.OK
    assert weights(resumed) == weights(whole) and tensors(resumed, 8) == tensors(whole, 8)
    assert len(list((resumed / "snapshots").iterdir())) == 3


def snapshot(weight: torch.Tensor) -> Checkpoint:
    return Checkpoint({"ema.w": weight}, {}, state(), "seed: 0\n")


def test_one_is_of_its_moment_and_written_before_the_next_checkpoint(tmp_path: Path):
    weight, own = torch.ones(3), CheckpointWriter(tmp_path / "checkpoints", keep=2)
    own.submit_snapshot(4, snapshot(weight))
    weight.zero_()
    own.submit(4, snapshot(weight))
    assert torch.equal(load_file(tmp_path / "snapshots" / "step-4" / "model.safetensors")["ema.w"], torch.ones(3))
    own.finish()
    assert own.written() == [4]  # checkpoints alone


def test_a_full_disk_is_told_with_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    own = CheckpointWriter(tmp_path / "checkpoints", keep=2)
    own.submit(3, snapshot(torch.ones(3)))
    own.settle()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("semisonic.checkpoint.format.write_tensors", full)
    own.submit_snapshot(4, snapshot(torch.ones(3)))
    with pytest.raises(UserError) as caught:
        own.finish()
    assert str(caught.value) == (
        f"the snapshot of step 4 could not be written: No space left on device ({tmp_path}/snapshots); step-3 is the "
        "last good one; free space, then --resume"
    )
    assert list((tmp_path / "snapshots").iterdir()) == []
