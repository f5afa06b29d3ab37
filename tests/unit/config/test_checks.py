"""Combinations of fields that are impossible are found before anything starts."""

import pytest
import torch

from semisonic.config.command_line import resolve
from semisonic.schema import UserError
from tests.support.command_line import config, mistakes
from tests.support.trainers import FIELDS


def test_replay_is_checked_before_anything_starts():
    with pytest.raises(UserError, match="replay: step needs a GPU"):
        resolve([*FIELDS, "--replay", "step"])
    assert resolve(FIELDS)[1].replayed == "off"


def test_replay_is_asked_for_with_several_optimizers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    one = ["--no-baseline", "--device", "cuda"]
    several = [*one, "--algorithm", "mpl"]
    assert resolve(one)[1].replayed == "step" and resolve(several)[1].replayed == "off"
    assert resolve([*several, "--replay", "step"])[1].replayed == "step"
    with pytest.raises(UserError, match="replay: mpl has several optimizers and cannot be replayed in part"):
        resolve([*several, "--replay", "backward"])


def test_the_model_is_checked_at_the_data_set_s_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("semisonic.data.sets.registry.data_problems", lambda cfg: [])
    assert config("--data", "stl10", "--model", "inception_v3").model.name == "inception_v3"
    assert any(line.startswith("model.name") for line in mistakes("--data", "cifar10", "--model", "inception_v3"))


def test_a_share_that_does_not_divide_over_the_ranks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert any("3 ranks" in line for line in mistakes("--batch.labeled", "32"))
