"""What the engine does for an algorithm with two roles, each with an optimizer of its own: Meta Pseudo Labels."""

from pathlib import Path

import pytest
import torch

from semisonic.checkpoint import format as checkpoints
from semisonic.config.command_line import resolve
from semisonic.runs.memory_fit import optimizer_bytes
from semisonic.schema import UserError
from semisonic.training.build import initialize
from semisonic.training.trainer import Trainer
from tests.support.trainers import Reads, make_trainer, on_the_host
from tests.support.trials import trial_of

FIELDS = ("--algorithm", "mpl", "--model", "small", "--steps", "20", "--algorithm.wait", "1", "--algorithm.baseline", "0.1",
          "--algorithm.teacher-lr", "0.02", "--algorithm.strong", "fixmatch", "--threads", "1")  # fmt: skip


def trainer_in(folder: Path, *fields: str) -> Trainer:
    return make_trainer(folder, *FIELDS, *fields)


def train(trainer: Trainer, until: int) -> list[float]:
    loader, losses = trainer.loader(), []
    while trainer.step < until:
        losses.append(float(trainer.training_step(next(loader)).loss))
    return losses


def test_a_resumed_run_goes_on_bit_for_bit_with_both_networks_and_optimizers(tmp_path: Path):
    whole, half = trainer_in(tmp_path / "whole"), trainer_in(tmp_path / "half")
    losses = train(whole, 6)
    assert train(half, 3) == losses[:3]
    half.save()
    half.checkpoint_writer.finish()
    checkpoint = checkpoints.load_checkpoint(tmp_path / "half")
    for role, net in (("student", "network"), ("teacher", "teacher")):
        names = {f"{role}/{net}.{name}/momentum_buffer" for name, _ in getattr(half.algorithm, net).named_parameters()}
        assert {name for name in checkpoint.optimizer if name.startswith(f"{role}/")} == names
        assert any(checkpoint.optimizer[name].any() for name in names)
    resumed = trainer_in(tmp_path / "resumed", "--seed", "0")
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
    report = initialize(tuned.algorithm, tmp_path / "half")
    assert "freshly" not in report and "in the checkpoint only" not in report
    for name, value in tuned.algorithm.network.state_dict().items():
        assert torch.equal(value, checkpoint.model[f"ema.{name}"])
        assert torch.equal(tuned.algorithm.ema.state_dict()[name], value)


def test_a_student_that_waits_stays_as_it_is(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--algorithm.wait", "3")
    before = {name: value.clone() for name, value in trainer.algorithm.named_parameters()}
    loader = trainer.loader()
    for step in range(4):
        output = trainer.training_step(next(loader))
        assert (output.metrics["progress"] == 0) == (step < 3)
        moved = {
            name.split(".")[0] for name, p in trainer.algorithm.named_parameters() if not torch.equal(p, before[name])
        }
        assert moved == ({"teacher"} if step < 3 else {"teacher", "network"})


def test_each_role_has_its_own_rate_and_it_is_logged(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--optim.lr", "0.05", "--optim.schedule", "cosine", "--algorithm.warm-up", "3")
    train(trainer, 2)
    metrics = trainer.read()
    assert metrics["lr"] == pytest.approx(0.05 / 4) and metrics["lr/teacher"] == pytest.approx(0.02, rel=0.01)
    assert {"train/loss_labeled", "train/loss_unlabeled", "train/loss_uda", "train/progress"} <= metrics.keys()


@pytest.mark.parametrize("net", ["network", "teacher"])
def test_a_loss_of_either_network_that_is_not_finite_is_found(net: str, tmp_path: Path):
    trainer = trainer_in(tmp_path)
    train(trainer, 2)
    assert trainer.training_step.first_bad_step == -1
    with torch.no_grad():
        trainer.algorithm.get_submodule(net).head.bias[0] = float("inf")
    train(trainer, 4)
    assert trainer.training_step.first_bad_step == 2


def test_micro_batches_have_one_step_of_each_optimizer(tmp_path: Path):
    trainer, stepped = trainer_in(tmp_path, "--batch.micro", "2"), []
    for role, engine in trainer.training_step.engines.items():
        engine.step = lambda role=role, step=engine.step: (stepped.append(role), step())  # type: ignore[method-assign]
    train(trainer, 2)
    assert stepped == ["student", "teacher"] * 2


def test_no_step_hands_a_value_to_the_host(tmp_path: Path):
    trainer = trainer_in(tmp_path)
    batch = next(trainer.loader())
    trainer.training_step(batch)
    with Reads() as reads:
        trainer.training_step(batch)
        assert reads.found == []


def test_a_step_needs_nothing_but_its_batch_and_fixed_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """So that it can be recorded as a CUDA graph; tests/gpu records one."""
    plain, replayed = (trainer_in(tmp_path / name, "--algorithm.dropout", "0") for name in ("plain", "replayed"))
    replayed.training_step = on_the_host(replayed, "step", monkeypatch)
    for trainer in (plain, replayed):
        addresses = [tensor.data_ptr() for tensor in trainer.algorithm.state_dict().values()]
        loader = trainer.loader()
        for _ in range(6):
            trainer.training_step(next(loader))
        assert addresses == [tensor.data_ptr() for tensor in trainer.algorithm.state_dict().values()]
    expected, found = plain.algorithm.state_dict(), replayed.algorithm.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_replay_is_asked_for_with_several_optimizers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    one = ["--no-baseline", "--device", "cuda"]
    several = [*one, "--algorithm", "mpl"]
    assert resolve(one)[1].replayed == "step" and resolve(several)[1].replayed == "off"
    assert resolve([*several, "--replay", "step"])[1].replayed == "step"
    with pytest.raises(UserError, match="replay: mpl has several optimizers and cannot be replayed in part"):
        resolve([*several, "--replay", "backward"])


def test_memory_counts_every_optimizer(tmp_path: Path):
    trainer = trainer_in(tmp_path, "--optim", "adamw")
    one = sum(parameter.nbytes for parameter in trainer.algorithm.network.parameters())
    assert optimizer_bytes(trainer.algorithm, trainer.cfg.optim) == 2 * 2 * one
    train(trainer, 2)
    held = sum(
        value.nbytes for engine in trainer.training_step.engines.values() for _, value in engine.state() if value.ndim
    )
    assert held == 2 * 2 * one


def test_the_trial_of_a_step_runs_both_networks(tmp_path: Path):
    cfg = resolve(
        ["--no-baseline", "--device", "cpu", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", *FIELDS]
    )[1]
    trial = trial_of(cfg)
    for micro in (1, 2):
        trial.step(cfg.model_copy(update={"batch": cfg.batch.model_copy(update={"micro": micro})}), False)


def test_a_table_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path):
    from semisonic.cli import main

    (tmp_path / "table.npy").write_bytes(b"")
    fields = [
        "--no-baseline",
        "--device",
        "cpu",
        *FIELDS,
        "--algorithm.variant",
        "reduced",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main([*fields, "--algorithm.predictions", str(tmp_path / "table.npy")]) == 2
    assert not (tmp_path / "run").exists()


def test_a_run_s_predictions_on_its_pool_make_a_teacher_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """In the pool's order, so that the rows of the table are those of `u_index`."""
    from semisonic import cli

    fields = ("--model", "small", "--threads", "1", "--data.labels", "40", "--no-data.unlabeled-includes-labeled")
    large = make_trainer(tmp_path / "large", "--algorithm", "supervised", *fields)
    large.save()
    large.checkpoint_writer.finish()
    table = tmp_path / "table.safetensors"
    assert cli.predict([str(tmp_path / "large"), "--pool", "--out", str(table), "--net", "raw", "--batch", "100"]) == 0
    assert "probabilities in" in capsys.readouterr().out
    reduced = make_trainer(
        tmp_path / "reduced", *FIELDS, "--algorithm.variant", "reduced", "--algorithm.predictions", str(table), *fields
    )
    batch = next(reduced.loader())
    images = large.data.train.pixels[large.split.unlabeled[batch.u_index.numpy()]]
    logits = large.algorithm.eval().infer(torch.from_numpy(images).permute(0, 3, 1, 2))
    torch.testing.assert_close(
        reduced.algorithm.table[batch.u_index], logits.detach().softmax(-1), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(reduced.algorithm.label(batch), logits.argmax(-1))
    reduced.training_step(batch)
    for argv in (["--pool", "folder"], []):
        assert cli.predict([str(tmp_path / "large"), *argv]) == 2
