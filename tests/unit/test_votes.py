"""When several ranks ask each other whether to stop."""

from pathlib import Path

import pytest
import torch.distributed as dist

from semisonic.building import build_algorithm
from semisonic.commandline import resolve
from semisonic.data.sources import load_data_set
from semisonic.data.splits import make_split
from semisonic.report import Console
from semisonic.runtime import start
from semisonic.trainer import Trainer


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    cfg = resolve(
        ["--device", "cpu", "--no-baseline", "--log.trackers", "none", "--steps", "50000", "--out", str(tmp_path)]
    )[1]
    data = load_data_set(cfg.data)
    split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
    made = Trainer(cfg, build_algorithm(cfg, data, split), data, split, start(cfg))
    made.host_group = object()
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    return made


def test_a_resumed_run_asks_after_its_first_step(trainer: Trainer):
    trainer.step = trainer.cfg.steps  # nothing is left to do
    assert trainer.fit(Console(False), lambda: None) is None
    assert trainer.agree("SIGTERM") == "SIGTERM"


def test_the_pace_is_that_of_the_steps_since_the_last_vote(trainer: Trainer):
    trainer.step = trainer.next_vote = trainer.last_vote = 40_000
    trainer.voted_at -= 10.0
    trainer.step += 5  # 2 s a step
    assert trainer.agree(None) is None and trainer.next_vote == 40_006
    assert trainer.agree("SIGTERM") is None  # not before the next vote, which all ranks know
    trainer.step += 1
    assert trainer.agree("SIGTERM") == "SIGTERM"
