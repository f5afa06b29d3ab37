"""Figures of training are those of all ranks and steps, and an evaluation leaves no trace in the modules."""

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from semisonic.algorithms.monitoring import pseudo_label_metrics
from semisonic.contract import Rank
from semisonic.training.metrics import SUMS, Meter, evaluate, or_null
from tests.support.pseudo_labels import usage
from tests.support.trainers import make_trainer


def test_an_evaluation_leaves_every_module_in_the_mode_that_it_was_in(tmp_path: Path):
    trainer = make_trainer(tmp_path)
    frozen = trainer.algorithm.network.head.eval()
    modes = {name: module.training for name, module in trainer.algorithm.named_modules()}
    seen = []
    for module in trainer.algorithm.ema.modules():
        module.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    trainer.evaluate("ema", "test", 100)
    assert seen and not any(seen)
    assert modes == {name: module.training for name, module in trainer.algorithm.named_modules()}
    assert modes[""] and not frozen.training


def test_precision_is_that_of_all_ranks_and_steps_not_the_mean_of_theirs(monkeypatch: pytest.MonkeyPatch):
    true = torch.tensor([0, 0, 0, 0])

    def rank(steps: list[tuple[list[int], list[float]]]) -> Meter:
        meter = Meter()
        for labels, mask in steps:
            meter.add(pseudo_label_metrics(torch.tensor(labels), torch.tensor(mask), true, 4))
        return meter

    mine = rank([([0, 0, 0, 0], [1, 1, 1, 1]), ([0, 0, 0, 0], [1, 1, 1, 1])])
    other = rank([([1, 0, 0, 0], [1, 0, 0, 0]), ([0, 2, 2, 2], [0, 0, 0, 0])])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda totals: totals.add_(other.sums))
    figures, _ = usage().read(2, {f"train/{name}": value for name, value in mine.read().items()})
    assert figures["train/pseudo_label_precision"] == pytest.approx(8 / 9)
    assert figures["train/coverage"] == pytest.approx(9 / 16)
    assert figures["train/class_share"] == pytest.approx([8 / 16, 1 / 16, 0, 0])


def test_sums_go_on_on_every_rank_and_at_another_world_size_as_those_of_all():
    rows = torch.tensor([[6.0, 2.0], [10.0, 2.0]])
    sizes: dict[str, int | None] = {"loss": None}

    def resumed(rank: Rank, names: dict[str, int | None]) -> torch.Tensor:
        meter = Meter()
        assert meter.load_state(names, {SUMS: rows}, rank) == 2
        meter.add({"loss": torch.tensor(1.0)})
        assert meter.sums is not None
        return meter.sums

    assert [resumed(Rank(rank, 2), sizes).tolist() for rank in (0, 1)] == [[7.0, 3.0], [11.0, 3.0]]
    # The mean of 2 steps at 4 and a step at 1, whatever the number of ranks: (4 + 4 + 1) / 3.
    assert resumed(Rank(0, 1), sizes).tolist() == [9.0, 3.0]
    total = sum(resumed(Rank(rank, 4), sizes) for rank in range(4))
    assert isinstance(total, torch.Tensor) and total.tolist() == [36.0, 12.0]
    assert resumed(Rank(0, 2), {"other": None}).tolist() == [1.0, 1.0]  # of another version: they start anew
    assert Meter().load_state({}, {}, Rank(0, 1)) == 0


def test_precision_recall_and_f1_follow_from_the_confusion():
    labels, logits = torch.tensor([0, 0, 1, 3]), torch.eye(4)[[0, 1, 1, 0]]
    found = evaluate(lambda x: x, [(logits, labels, torch.ones(4, dtype=torch.bool))], 4)
    assert found.count == 4 and found.top1 == 50.0
    assert found.precision == pytest.approx([50.0, 50.0, math.nan, math.nan], nan_ok=True)
    assert found.recall == pytest.approx([50.0, 100.0, math.nan, 0.0], nan_ok=True)
    assert found.f1 == pytest.approx([50.0, 200 / 3, math.nan, 0.0], nan_ok=True)
    assert or_null(found.recall) == [50.0, 100.0, None, 0.0]


def test_an_evaluation_of_one_rank_alone_waits_for_no_other(monkeypatch: pytest.MonkeyPatch):
    asked: list[torch.Tensor] = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", asked.append)
    slices = [(torch.eye(2), torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool))]
    assert evaluate(lambda x: x, slices, 2, everywhere=False).top1 == 100.0 and not asked
    evaluate(lambda x: x, slices, 2)
    assert len(asked) == 2
