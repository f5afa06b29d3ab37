"""Suspicion by two ranks, and distance to the images of earlier days."""

import numpy as np
import pytest
import torch

from semisonic.curation.choice import distances as by_choice
from semisonic.daily.labeling import scores
from semisonic.daily.passes.arrays import Features

CPU = torch.device("cpu")


def test_what_no_other_view_and_network_agrees_with_is_the_most_suspicious():
    columns = {
        "views": np.array([0.9, 0.2, 0.8, 0.5], np.float32),
        "run": np.array([0.99, 0.3, 0.95, 0.94], np.float32),
    }
    assert scores.suspicion(columns).tolist() == pytest.approx([0, 1, 1 / 3, 2 / 3])
    assert scores.suspicion(columns).dtype == np.float32
    columns["folds"] = np.array([0.0, 0.9, 0.95, 0.7], np.float32)
    assert scores.suspicion(columns).argmin() == 2
    assert scores.certainty(columns).tolist() == pytest.approx([0.945, 0.25, 0.875, 0.72])


def test_the_margin_is_that_to_the_second_class():
    assert scores.margin(np.array([[0.7, 0.2, 0.1]], np.float32)).tolist() == pytest.approx([0.5])
    assert scores.margin(np.array([[1.0]], np.float32)).tolist() == [1.0]


def features(count: int, ids: np.ndarray) -> Features:
    rows = np.random.default_rng(0).normal(size=(count, 8))
    return Features(ids, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))


def test_the_distance_is_exact_whatever_is_computed_at_a_time(monkeypatch: pytest.MonkeyPatch):
    ids = np.arange(1, 61)
    found = features(60, ids)
    expected = by_choice(found.of(ids[40:]), found.of(ids[:40]))
    for block in (2**26, 100):
        monkeypatch.setattr(scores, "BLOCK", block)
        assert np.allclose(scores.distances(ids[40:], ids[:40], found, CPU), expected, atol=1e-6)
    assert np.isnan(scores.distances(ids[:2], ids[:0], found, CPU)).all()  # the first day has none before it
    assert len(scores.distances(ids[:0], ids, found, CPU)) == 0
    few = scores.distances(ids[50:51], ids[:1], found, CPU)
    assert few == pytest.approx(1 - found.of(ids[50:51]) @ found.of(ids[:1])[0], abs=1e-4)


def test_of_many_earlier_images_some_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch):
    assert scores.earlier_sample(np.arange(60)).tolist() == list(range(60))
    monkeypatch.setattr(scores, "EARLIER", 10)
    first, again, other = (scores.earlier_sample(np.arange(60), seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len(first) == 10 and np.all(np.diff(first) > 0)
