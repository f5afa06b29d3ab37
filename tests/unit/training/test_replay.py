"""A step that was not finite is taken again from its state: equal means the mathematics, unequal the device."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.checkpoint import format as checkpoints
from semisonic.contract import Batch, StepOutput
from semisonic.distributed.consistency import Diverged
from semisonic.reporting.console import Console
from semisonic.schema import UserError
from semisonic.training import replay
from semisonic.training.build import begun
from tests.support.trainers import make_trainer

FIELDS = ["--model", "small", "--steps", "9", "--log.every", "4", "--checkpoint.every", "3", "--eval.every", "9"]
BAD = 4
"""Noticed at the reading after step 8, when the checkpoint of step 3 is the last good one."""


def spoilt(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[StepOutput], StepOutput], times: int, at: int = BAD
) -> None:
    """Has the loss of step `at` be spoilt, as often as `times` says."""
    loss, done = FixMatch.loss, []

    def bad(self: FixMatch, batch: Batch) -> StepOutput:
        output = loss(self, batch)
        if int(self.step) == at and len(done) < times:
            done.append(True)
            return spoil(output)
        return output

    monkeypatch.setattr(FixMatch, "loss", bad)


def not_finite(output: StepOutput) -> StepOutput:
    return output._replace(loss=output.loss * torch.nan)


def run(folder: Path, *fields: str) -> Diverged:
    """Trains until it diverges, and has that explained."""
    trainer = make_trainer(folder, *FIELDS, *fields)
    folder.mkdir()
    with pytest.raises(Diverged) as raised:
        trainer.train(Console(False), lambda: None)
    said: list[str] = []
    begin = partial(begun, trainer.cfg, trainer.data, trainer.split)
    error = replay.explained(raised.value, trainer, begin, lambda: None, said.append)
    assert said
    return error


def test_what_comes_out_the_same_is_the_mathematics_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spoilt(monkeypatch, not_finite, 99)
    error = run(tmp_path / "run")
    assert error.exit_code == 3 and "not finite at step 4;" in error.messages[0]
    assert "not finite, the same both times: the mathematics is at fault" in error.messages[1]
    kept = checkpoints.load_checkpoint(tmp_path / "run" / "replay")
    whole = make_trainer(tmp_path / "whole", *FIELDS)
    with whole.loader() as loader:
        for _ in range(BAD):
            whole.training_step(next(loader))
        batch = next(loader)
    assert kept.state["step"] == BAD
    assert all(torch.equal(value, kept.model[name]) for name, value in whole.algorithm.state_dict().items())
    read = replay.read_batch(load_file(replay.batch_file(tmp_path / "run" / "replay" / "step-4", 0)))
    assert torch.equal(read.u["strong"], batch.u["strong"]) and torch.equal(read.u_key, batch.u_key)
    assert read.u["strong"].stride() == batch.u["strong"].stride() and read.streams == {}


def test_what_is_finite_when_it_is_repeated_is_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spoilt(monkeypatch, not_finite, 1)
    error = run(tmp_path / "run", "--checkpoint.every", "9")  # from the beginning
    assert "replayed twice from its state and was finite: the device was at fault" in error.messages[1]


def test_what_comes_out_in_two_ways_is_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise UserError("the disk is full")

    spoilt(monkeypatch, not_finite, 2)
    monkeypatch.setattr(replay, "keep", full)
    error = run(tmp_path / "run")
    assert error.messages[1].endswith("have it checked. It is not kept: the disk is full")
    assert "came out in two ways on rank 0: the device is at fault" in error.messages[1]


def test_weights_that_were_spoilt_a_step_before_the_loss_are_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def infinite_gradient(output: StepOutput) -> StepOutput:
        return output._replace(loss=output.loss + (output.loss * 0).sqrt())  # finite, with a derivative of 0 / 0

    spoilt(monkeypatch, infinite_gradient, 99, at=5)
    error = run(tmp_path / "run", "--checkpoint.every", "5")
    assert "at step 6;" in error.messages[0] and error.messages[1].startswith("step 5 was replayed twice")
    assert error.step == 5


def test_a_replay_can_be_stopped_and_ends_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = make_trainer(tmp_path, *FIELDS)
    begin = partial(begun, trainer.cfg, trainer.data, trainer.split)
    error = replay.explained(Diverged("not finite", 7), trainer, begin, lambda: "SIGTERM", lambda text: None)
    assert error.messages == ["not finite", "its step was not replayed: stopped by SIGTERM"] and error.step == 7
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (UserError(["step-3 is damaged", "step-2 is whole"]), "step-3 is damaged; step-2 is whole"),
        (torch.OutOfMemoryError("CUDA out of memory\nTried to allocate"), "its device has too little memory for it"),
    ],
    ids=["checkpoint", "memory"],
)
def test_what_cannot_be_replayed_has_diverged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, why: str
):
    def fail(*_: object) -> None:
        raise problem

    trainer = make_trainer(tmp_path, *FIELDS)
    monkeypatch.setattr(replay, "replay", fail)
    error = replay.explained(Diverged("not finite", 7), trainer, lambda: trainer.algorithm, lambda: None, print)
    assert error.messages == ["not finite", f"its step was not replayed: {why}"] and error.exit_code == 3
