"""The fast path (compiled, fused kernels) trains as the plain one (eager, every kernel in plain torch) does."""

from pathlib import Path

import pytest
import torch

from semisonic.training.trainer import Trainer
from tests.support.trainers import copy_state, make_trainer

STEPS = 50
FAST = ("--compile", "whole")
PLAIN = ("--compile", "off", "--kernels", "reference")


def trainers(folder: Path) -> dict[str, Trainer]:
    torch._dynamo.reset()
    threshold = ("--algorithm.threshold", "0.12")  # so that some samples pass from the first step on
    return {
        "fast": make_trainer(folder / "fast", *FAST, *threshold),
        "plain": make_trainer(folder / "plain", *PLAIN, *threshold),
    }


def step(trainer: Trainer, batch) -> float:
    return trainer.training_step(batch).loss.item()


@pytest.mark.slow
def test_every_step_agrees_from_the_same_state(tmp_path: Path):
    """Each of 50 steps of the fast path against a plain step from the same state; fp32, on the CPU."""
    both = trainers(tmp_path)
    loaders = {name: trainer.loader() for name, trainer in both.items()}
    with torch._dynamo.config.patch(error_on_recompile=True):
        for number in range(STEPS):
            copy_state(both["fast"], both["plain"])
            before = {name: value.clone() for name, value in both["fast"].algorithm.named_parameters()}
            losses = {name: step(trainer, next(loaders[name])) for name, trainer in both.items()}
            assert losses["fast"] == pytest.approx(losses["plain"], rel=1e-5), number
            found, expected = (both[name].algorithm.state_dict() for name in ("fast", "plain"))
            moved = max((expected[f"{name}"] - value).abs().max().item() for name, value in before.items())
            for name, value in expected.items():
                # Rounding may flip a ReLU of one pixel, which moves some weights by a small part of the step.
                torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-4, atol=2e-2 * moved)
    assert moved > 1e-4


@pytest.mark.long
def test_free_runs_stay_together_for_fifty_steps(tmp_path: Path):
    """Fifty steps without correction, in float64: what parts the two paths in float32 is rounding, and no more."""
    both = trainers(tmp_path)
    losses = {}
    for name, trainer in both.items():
        trainer.algorithm.double()
        loader = trainer.loader()
        losses[name] = [step(trainer, next(loader)) for _ in range(STEPS)]
    assert losses["fast"] == pytest.approx(losses["plain"], rel=1e-6)
    assert losses["plain"][-1] < losses["plain"][0]
