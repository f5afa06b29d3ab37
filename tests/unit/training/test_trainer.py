"""When several ranks ask each other whether to stop."""

from pathlib import Path

import pytest
import torch.distributed as dist

from semisonic.config.command_line import resolve
from semisonic.reporting.console import Console
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    cfg = resolve(
        ["--device", "cpu", "--no-baseline", "--log.trackers", "none", "--steps", "50000", "--out", str(tmp_path)]
    )[1]
    made = build_trainer(cfg)
    made.host_group = object()
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    return made


def test_a_resumed_run_asks_after_its_first_step(trainer: Trainer):
    trainer.training_step.number = trainer.cfg.steps  # nothing is left to do
    assert trainer.train(Console(False), lambda: None) is None
    assert trainer.agree("SIGTERM") == "SIGTERM"


def test_the_pace_is_that_of_the_steps_since_the_last_vote(trainer: Trainer):
    trainer.training_step.number = trainer.next_vote = trainer.last_vote = 40_000
    trainer.voted_at -= 10.0
    trainer.training_step.number += 5  # 2 s a step
    assert trainer.agree(None) is None and trainer.next_vote == 40_006
    assert trainer.agree("SIGTERM") is None  # not before the next vote, which all ranks know
    trainer.training_step.number += 1
    assert trainer.agree("SIGTERM") == "SIGTERM"
