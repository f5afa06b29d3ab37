"""The trainer: a resumed run goes on bit for bit, and ranks ask each other whether to stop."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.reporting.console import Console
from semisonic.reporting.metrics_file import read_metrics, results
from semisonic.training.build import build_trainer, initialize
from semisonic.training.metrics import Throughput
from semisonic.training.trainer import Trainer
from tests.support.trainers import make_trainer
from tests.support.two_roles import train, trainer_in


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    cfg = resolve(
        ["--device", "cpu", "--no-baseline", "--log.trackers", "none", "--steps", "50000", "--out", str(tmp_path)]
    )[1]
    made = build_trainer(cfg)
    made.vote.group = object()
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    return made


def test_a_resumed_run_asks_after_its_first_step(trainer: Trainer):
    trainer.training_step.number = trainer.cfg.steps  # nothing is left to do
    assert trainer.train(Console(False), lambda: None) is None
    assert trainer.agree("SIGTERM") == "SIGTERM"


GROWING = ["--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages", "4", "--batch.unlabeled-bend", "0"]


@pytest.mark.parametrize(("more", "read"), [([], [72, 72, 48]), (GROWING, [36, 52, 44])], ids=["constant", "growing"])
def test_metrics_after_a_resume_are_those_of_the_run_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], read: list[int]
):
    """A growing batch is stopped inside a stage; the speed counts the images that were read."""
    counted = []

    class Counted(Throughput):
        def read(self, wait_seconds: float) -> dict[str, float]:
            counted.append(self.images)
            return super().read(wait_seconds)

    monkeypatch.setattr("semisonic.training.trainer.Throughput", Counted)
    fields = [*more, "--steps", "8", "--log.every", "3", "--checkpoint.every", "5", "--eval.every", "4", "--model", "small",
              "--eval.batch", "512", "--algorithm.threshold", "0.2", "--log.collapse-coverage", "0.01"]  # fmt: skip
    ended = []
    for name, stop_at in (("whole", 8), ("stopped", 4)):
        trainer = make_trainer(tmp_path / name, *fields)
        (tmp_path / name).mkdir()
        trainer.train(Console(False), lambda made=trainer, last=stop_at: "SIGTERM" if made.step == last else None)
        ended.append(trainer.step)
    assert ended == [8, 4] and counted == [*read, read[0]]
    resumed = make_trainer(tmp_path / "stopped", *fields)
    resumed.restore(checkpoints.load_checkpoint(tmp_path / "stopped"))
    counted.clear()
    assert resumed.unread == 1  # of the reading at step 6, the steps 5 and 6 are still to come
    resumed.train(Console(False), lambda: None)
    whole, stopped = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped"))
    assert [line["step"] for line in whole] == [3, 4, 6, 8, 8]
    assert [results(line) for line in stopped] == [results(line) for line in whole]
    assert counted[1] == read[2]


@pytest.mark.parametrize("fields", [(), ("--algorithm.labels", "sampled", "--optim", "lars")], ids=["sgd", "lars"])
def test_a_resumed_run_goes_on_bit_for_bit_with_both_networks_and_optimizers(tmp_path: Path, fields: tuple[str, ...]):
    whole, half = trainer_in(tmp_path / "whole", *fields), trainer_in(tmp_path / "half", *fields)
    losses = train(whole, 6)
    assert train(half, 3) == losses[:3]
    half.save()
    half.checkpoint_writer.finish()
    checkpoint = checkpoints.load_checkpoint(tmp_path / "half")
    for role, net in (("student", "network"), ("teacher", "teacher")):
        names = {f"{role}/{net}.{name}/momentum_buffer" for name, _ in getattr(half.algorithm, net).named_parameters()}
        assert {name for name in checkpoint.optimizer if name.startswith(f"{role}/")} == names
        assert any(checkpoint.optimizer[name].any() for name in names)
    resumed = trainer_in(tmp_path / "resumed", "--seed", "0", *fields)
    with torch.no_grad():
        for parameter in resumed.algorithm.parameters():
            parameter += 1  # whatever is not restored stays wrong
    resumed.restore(checkpoint)
    assert train(resumed, 6) == losses[3:]
    found, expected = resumed.algorithm.state_dict(), whole.algorithm.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    for role, engine in whole.training_step.engines.items():
        own = dict(resumed.training_step.engines[role].state())
        assert all(torch.equal(value, own[name]) for name, value in engine.state())
    # The fine-tuning that follows begins with the student's average, in both of its networks.
    tuned = make_trainer(tmp_path / "tuned", "--algorithm", "supervised", "--model", "small")
    report = initialize(tuned.algorithm, tmp_path / "half", tuned.data.classes)
    assert "freshly" not in report and "in the checkpoint only" not in report
    for name, value in tuned.algorithm.network.state_dict().items():
        assert torch.equal(value, checkpoint.model[f"ema.{name}"])
        assert torch.equal(tuned.algorithm.ema.state_dict()[name], value)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fixmatch", "remixmatch"])
def test_classes_without_a_label_leave_losses_finite(tmp_path: Path, algorithm: str):
    fields = ["--data.labels", "3", "--data.labels-from", "random", "--steps", "2", "--algorithm", algorithm]
    trainer = make_trainer(tmp_path / "run", *fields)
    prior = trainer.algorithm.info.class_prior
    assert 0 in prior and math.fsum(prior) == pytest.approx(1)
    with trainer.loader() as loader:
        for _ in range(2):
            trainer.training_step(next(loader))
    assert math.isfinite(trainer.read()["train/loss"])
    assert trainer.evaluate("ema", "test").count == 400
