"""Typical first labels against random ones: the stored runs, the whole benchmark, and how it chooses."""

import json

import numpy as np
import pytest

import first_labels
from tests.support.processes import ROOT

RESULTS = ROOT / "benchmarks/results/first-labels.json"


def test_the_stored_runs_show_what_typical_labels_are_worth():
    result = json.loads(RESULTS.read_text())
    cells = [one for one in result["cells"] if one["labels"] == 20]
    assert sorted((one["way"], one["seed"]) for one in cells) == [
        (w, s) for w in ("random", "typical") for s in (0, 1, 2)
    ]
    assert first_labels.mean_error(result, "typical") <= 12
    assert first_labels.mean_error(result, "typical") <= first_labels.mean_error(result, "random") - 8


def test_typical_labels_show_more_classes():
    classes = dict.fromkeys(first_labels.WAYS, 0)
    for seed in (3, 4):
        for way in first_labels.WAYS:
            labels = first_labels.chosen(way, 20, seed)
            assert len(labels) == 20
            classes[way] += len(np.unique(labels))
    assert classes["typical"] > classes["random"]


@pytest.mark.long
def test_twenty_typical_labels_beat_twenty_random_ones():
    result = first_labels.run(first_labels.parse([]))
    first_labels.show(result)
    assert first_labels.mean_error(result, "typical") <= 12
    assert first_labels.mean_error(result, "typical") <= first_labels.mean_error(result, "random") - 8
