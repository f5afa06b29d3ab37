"""On a GPU: a step of two networks never makes the host wait, and recorded as one CUDA graph it is the same step."""

import pytest
import torch

from semisonic.replay import WARM_UP
from tests.gpu.test_step import make_trainer

pytestmark = pytest.mark.gpu

FIELDS = ("--algorithm", "mpl", "--steps", "100", "--algorithm.wait", "1", "--algorithm.strong", "fixmatch")


@pytest.mark.parametrize("replay", ["off", "step"])
@pytest.mark.parametrize("compiled", ["off", "whole"])
def test_a_step_does_not_synchronise(compiled: str, replay: str):
    trainer = make_trainer(*FIELDS, "--compile", compiled, "--replay", replay)
    batch = next(trainer.loader())
    for _ in range(WARM_UP + 2):
        trainer.train_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.first_bad_step) == -1


def test_a_replayed_run_is_the_run():
    found = []
    for mode in ("off", "step"):
        trainer = make_trainer(*FIELDS, "--deterministic", "--replay", mode, "--algorithm.dropout", "0")
        loader = trainer.loader()
        for _ in range(WARM_UP + 6):
            trainer.train_step(next(loader))
        found.append((trainer.read(), trainer.algorithm.state_dict()))
    (figures, plain), (others, replayed) = found
    assert figures == others
    assert all(torch.equal(value, replayed[name]) for name, value in plain.items())
