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


GROWING = ("--batch.unlabeled-schedule", "growing")


def test_a_growing_batch_divides_at_every_size(monkeypatch: pytest.MonkeyPatch):
    twelve = (*GROWING, "--batch.labeled", "4", "--batch.unlabeled-ratio", "3")
    (line,) = mistakes(*twelve)
    assert (
        line.startswith("batch.unlabeled_stages: 12 unlabeled images in 8 equal stages") and "2 or 3 or 4 or 6" in line
    )
    assert config(*twelve, "--batch.unlabeled-stages", "6").unlabeled_sizes.smallest == 2
    (line,) = mistakes(*twelve, "--batch.unlabeled-stages", "6", "--batch.micro", "4")
    assert "1 ranks x 4 micro-batches; take 3" in line
    (line,) = mistakes(*GROWING, "--batch.labeled", "8", "--batch.unlabeled-ratio", "1", "--batch.micro", "8")
    assert "use batch.unlabeled_schedule=constant" in line
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert config(*GROWING, "--batch.labeled", "16", "--batch.unlabeled-ratio", "1").unlabeled_sizes.smallest == 2


def test_what_depends_on_the_number_of_images_lets_it_not_grow():
    """All mistakes are told together."""
    (line,) = mistakes(*GROWING, "--algorithm", "simclr")
    assert line == ("batch.unlabeled_schedule: simclr depends on how many unlabeled images a step has; use constant")
    for fields in (("comatch",), ("dash", "--algorithm.rule", "official")):
        assert any("use constant" in line for line in mistakes(*GROWING, "--algorithm", *fields))
    assert config(*GROWING, "--algorithm", "dash", "--algorithm.rule", "usb").batch.unlabeled_schedule == "growing"
    found = mistakes(*GROWING, "--addons.auxiliary.simclr", "1", "--batch.unlabeled-stages", "3", "--precision", "fp16")
    assert [line.split(":")[0] for line in found] == ["batch.unlabeled_schedule", "batch.unlabeled_stages", "precision"]
    assert "addons.auxiliary" in found[0]


def test_a_share_that_does_not_divide_over_the_ranks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert any("3 ranks" in line for line in mistakes("--batch.labeled", "32"))


def test_what_keeps_a_batch_from_growing_is_told_beside_what_does_not_divide():
    growing = ["--batch.unlabeled-schedule", "growing", "--batch.micro", "5", "--no-baseline"]
    with pytest.raises(UserError) as caught:
        resolve(["--algorithm", "comatch", *growing])
    fields = [message.partition(":")[0] for message in caught.value.messages]
    assert fields.count("batch.unlabeled_schedule") == 1 and "batch.labeled" in fields
    assert "batch.unlabeled_stages" not in fields  # nobody knows yet


def test_groups_of_ranks_divide_the_ranks(monkeypatch: pytest.MonkeyPatch):
    (line,) = mistakes("--model.norm-groups", "2")
    assert line == "model.norm_groups: 1 rank does not divide into 2 equal groups; take a divisor of 1"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert config("--model.norm-groups", "2").model.norm_groups == 2
    (line,) = mistakes("--model.norm-groups", "3")
    assert line == "model.norm_groups: 4 ranks do not divide into 3 equal groups; take a divisor of 4"
    (line,) = mistakes("--model.norm-groups", "2", "--model.norm-sync", "false")
    assert line == "model.norm_groups: with norm_sync=false each rank is by itself; leave one of the two out"
