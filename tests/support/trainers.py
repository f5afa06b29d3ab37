"""Trainers on the embedded digits, and what watches their steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semisonic.config.command_line import resolve
from semisonic.training.build import build_trainer
from semisonic.training.step import TrainingStep
from semisonic.training.trainer import Trainer

FIELDS = [
    "--no-baseline", "--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
    "--log.trackers", "none",
]  # fmt: skip


def make_trainer(folder: Path, *fields: str) -> Trainer:
    return build_trainer(resolve([*FIELDS, "--out", str(folder), *fields])[1])


class OnTheHost:
    """A recorder for devices without graphs: does at each replay what the action does."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.action: Callable[[], Any] = lambda: None

    def warm_up(self, action: Callable[[], Any]) -> Any:
        self.events.append("warm-up")
        return action()

    def capture(self, action: Callable[[], Any]) -> Any:
        self.events.append("capture")
        self.action = action
        return {"sum": torch.zeros(())}

    def replay(self) -> None:
        self.events.append("replay")
        self.action()

    def release(self) -> None:
        self.events.append("release")


def on_the_host(trainer: Trainer, part: str, monkeypatch: pytest.MonkeyPatch) -> TrainingStep:
    """The trainer's step anew, with a part that is replayed without a CUDA graph."""
    monkeypatch.setattr("semisonic.training.step.CudaGraph", OnTheHost)
    cfg = trainer.cfg.model_copy(update={"replay": part})
    return TrainingStep(cfg, trainer.algorithm, trainer.accelerator)


class Reads(TorchDispatchMode):
    """Operations that hand a tensor's value to the host, or whose result's size depends on one."""

    NAMES = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "unique", "bincount")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__.lstrip("_") in {name.lstrip("_") for name in self.NAMES}:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def copy_state(source: Trainer, target: Trainer) -> None:
    target.algorithm.load_state_dict(source.algorithm.state_dict())
    pairs = zip(source.algorithm.parameters(), target.algorithm.parameters(), strict=True)
    for parameter, own in pairs:
        for name, value in source.training_step.engines["network"].optimizer.state[parameter].items():
            if value is not None:
                target.training_step.engines["network"].optimizer.state[own][name] = value.clone()
