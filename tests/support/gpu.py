"""Trainers on a GPU, and what all of their steps keep."""

import torch

from semisonic.building import build_algorithm
from semisonic.commandline import resolve
from semisonic.data.sources import load
from semisonic.data.splits import make_split
from semisonic.replay import WARM_UP_DDP
from semisonic.runtime import start
from semisonic.trainer import Trainer

FIELDS = [
    "--no-baseline",
    "--device",
    "cuda",
    "--batch.labelled",
    "8",
    "--batch.unlabelled-ratio",
    "2",
    "--log.trackers",
    "none",
]


def make_trainer(*fields: str) -> Trainer:
    cfg = resolve([*FIELDS, *fields])[1]
    data = load(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    torch.manual_seed(0)
    return Trainer(cfg, build_algorithm(cfg, data, split), data, split, start(cfg))


def check_that_nothing_waits(trainer: Trainer) -> None:
    """Steps, once warm, never make the host wait for the device."""
    batch = next(trainer.loader())
    before = WARM_UP_DDP + 2
    for _ in range(before):
        trainer.train_step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer.train_step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.first_bad_step) == -1 and int(trainer.algorithm.step) == before + 3


def check_that_replay_changes_nothing(replay: str, *fields: str) -> None:
    """Deterministic kernels: recorded and replayed they do the same arithmetic, bit for bit."""
    found = []
    for mode in ("off", replay):
        trainer = make_trainer("--deterministic", "--replay", mode, *fields)
        loader = trainer.loader()
        for _ in range(WARM_UP_DDP + 6):
            trainer.train_step(next(loader))
        found.append((trainer.read(), trainer.algorithm.state_dict()))
    (figures, plain), (others, replayed) = found
    assert figures == others
    assert all(torch.equal(value, replayed[name]) for name, value in plain.items())
