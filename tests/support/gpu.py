"""Trainers on a GPU, and what all of their steps keep."""

import torch

from semisonic.config.command_line import resolve
from semisonic.training.build import build_trainer
from semisonic.training.cuda_graph import WARM_UP_DDP
from semisonic.training.trainer import Trainer

FIELDS = [
    "--no-baseline",
    "--device",
    "cuda",
    "--batch.labeled",
    "8",
    "--batch.unlabeled-ratio",
    "2",
    "--log.trackers",
    "none",
]


def make_trainer(*fields: str) -> Trainer:
    return build_trainer(resolve([*FIELDS, *fields])[1])


def check_that_nothing_waits(trainer: Trainer) -> None:
    """Steps, once warm, never make the host wait for the device."""
    trainer.training_step.measured = True
    batch = next(trainer.loader())
    before = WARM_UP_DDP + 2
    for _ in range(before):
        trainer.training_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.training_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.training_step.first_bad_step) == -1 and int(trainer.algorithm.step) == before + 3


def check_that_replay_changes_nothing(replay: str, *fields: str) -> None:
    """Deterministic kernels: recorded and replayed they do the same arithmetic, bit for bit."""
    found = []
    for mode in ("off", replay):
        trainer = make_trainer("--deterministic", "--replay", mode, *fields)
        trainer.training_step.measured = True
        loader = trainer.loader()
        for _ in range(WARM_UP_DDP + 6):
            trainer.training_step(next(loader))
        found.append((trainer.read(), trainer.algorithm.state_dict()))
    (metrics, plain), (others, replayed) = found
    assert metrics == others
    assert all(torch.equal(value, replayed[name]) for name, value in plain.items())
