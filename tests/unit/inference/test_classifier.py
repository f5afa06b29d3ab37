"""A trained network is loaded from its run alone, and classifies as the run did."""

import json
from pathlib import Path

import pytest
import torch

import semisonic
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set


def test_load_needs_no_data_set(run: Path):
    classifier = semisonic.load(run)
    assert not classifier.training and classifier.classes == [str(digit) for digit in range(10)]
    assert classifier.image_size == 16
    data = load_data_set(DataConfig())
    images = torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        top1 = (classifier(images).argmax(-1).numpy() == data.test.labels).mean() * 100
    assert top1 == pytest.approx(json.loads((run / "summary.json").read_text())["test_top1"])
