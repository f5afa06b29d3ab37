"""On a GPU: a step never makes the host wait, training goes on over DALI's GPU pipeline, and resuming is exact."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semisonic import cli
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.optim.optimizer import AveragingSGD
from tests.support.gpu import FIELDS, check_that_nothing_waits, check_that_replay_changes_nothing, make_trainer
from tests.support.trainers import copy_state

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("replay", ["off", "step", "backward"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", ["off", "whole"])
@pytest.mark.parametrize("algorithm", ["supervised", "fixmatch"])
def test_a_step_does_not_synchronize(algorithm: str, compiled: str, precision: str, replay: str):
    check_that_nothing_waits(
        make_trainer("--algorithm", algorithm, "--compile", compiled, "--precision", precision, "--replay", replay)
    )


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in ("supervised", "fixmatch")])
def test_no_algorithm_synchronizes(algorithm: str):
    """As it runs by default on a GPU: compiled, and replayed where it can be."""
    check_that_nothing_waits(make_trainer("--algorithm", algorithm, "--precision", "bf16"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
@pytest.mark.parametrize("replay", ["step", "backward"])
def test_a_replayed_run_is_the_run(replay: str, optimizer: str):
    check_that_replay_changes_nothing(replay, "--optim", optimizer, "--algorithm.threshold", "0.12")


def test_a_replayed_run_is_the_run_where_blocks_that_draw_are_computed_again():
    fields = ("--model", "shake-shake-8-2x4d", "--model.dropout", "0.2", "--recompute", "--algorithm.threshold", "0.12")
    check_that_replay_changes_nothing("step", *fields)


@pytest.mark.parametrize("compiled", ["off", "whole"])
def test_a_growing_batch_is_replayed_at_every_size(compiled: str):
    """Each size is compiled and recorded anew, and the run is the one that is not replayed."""
    growing = ("--batch.unlabeled-schedule", "growing", "--batch.unlabeled-stages", "2", "--batch.unlabeled-bend", "0")
    fields = ("--deterministic", "--compile", compiled, "--steps", "17", "--algorithm.threshold", "0.12", *growing)
    found = []
    for replay in ("off", "step"):
        trainer = make_trainer("--replay", replay, *fields)
        with trainer.loader() as loader:
            sizes = []
            for _ in range(17):
                batch = next(loader)
                trainer.training_step(batch)
                sizes.append(len(batch.u_index))
        assert sizes == [8] * 12 + [16] * 5
        found.append((trainer.read(), trainer.algorithm.state_dict()))
    assert len(trainer.training_step._on_device.seen) == 2
    (metrics, plain), (others, replayed) = found
    assert metrics == others and all(torch.equal(value, replayed[name]) for name, value in plain.items())


def test_sgd_moves_the_ema_in_its_own_launch():
    step = make_trainer("--optim", "sgd").training_step
    assert isinstance(step.engines["network"].optimizer, AveragingSGD) and not step.averages_parameters


def test_the_fast_path_follows_the_plain_one():
    """Each step of the fast path against a plain one (eager, reference kernels) from the same state; IEEE float32."""
    torch.backends.cudnn.allow_tf32 = False
    fast = make_trainer("--compile", "whole", "--replay", "step", "--algorithm.threshold", "0.12")
    plain = make_trainer(
        "--compile", "off", "--replay", "off", "--kernels", "reference", "--algorithm.threshold", "0.12"
    )
    loader, other = fast.loader(), plain.loader()
    for step in range(50):
        copy_state(fast, plain)
        before = {name: value.clone() for name, value in fast.algorithm.named_parameters()}
        one = fast.training_step(next(loader)).loss.item()
        two = plain.training_step(next(other)).loss.item()
        assert one == pytest.approx(two, rel=1e-3), step
        found, expected = fast.algorithm.state_dict(), plain.algorithm.state_dict()
        moved = max((expected[name] - value).abs().max().item() for name, value in before.items())
        for name, value in expected.items():
            torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-3, atol=5e-2 * moved)


def test_a_deterministic_run_repeats_bit_for_bit(tmp_path: Path):
    fields = [
        *FIELDS,
        "--deterministic",
        "--steps",
        "20",
        "--checkpoint.every",
        "10",
        "--eval.every",
        "10",
        "--log.every",
        "10",
    ]
    found = []
    for name in ("a", "b"):
        assert cli.main([*fields, "--out", str(tmp_path / name)]) == 0
        found.append(load_file(tmp_path / name / "checkpoints" / "step-20" / "model.safetensors"))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
