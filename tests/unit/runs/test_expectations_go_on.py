"""A network given in Python says what its weights expect; the run keeps it, and goes on with it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor, nn

import semisonic
from semisonic.schema import UserError

STATED = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.75), "crop_pct": 0.9, "interpolation": "bicubic"}
FIELDS: dict[str, Any] = {
    "steps": 2, "baseline": False, "device": "cpu", "threads": 1, "quiet": True, "log.trackers": (),
    "batch.labeled": 10, "batch.unlabeled_ratio": 1, "eval.every": 2, "algorithm": "supervised",
}  # fmt: skip


class Given(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.fc = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.body(images).flatten(1))


class Stating(Given):
    pretrained_cfg = STATED


def test_a_given_network_s_normalization_is_used_kept_and_goes_on(tmp_path: Path):
    result = semisonic.train("digits", network=Stating, out=tmp_path / "run", **FIELDS)
    for found in (result, semisonic.train("digits", network=Stating, out=tmp_path / "run", resume=True, **FIELDS)):
        assert (found.classifier.mean.flatten() / 255).tolist() == pytest.approx(STATED["mean"])
        assert (found.classifier.std.flatten() / 255).tolist() == pytest.approx(STATED["std"])
    saved = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]
    assert saved["normalize"] == "auto" and saved["expected"]["mean"] == list(STATED["mean"])


def test_what_is_not_stated_cannot_be_demanded(tmp_path: Path):
    with pytest.raises(UserError, match=r"^data\.normalize: weights, but the network that was given has no pretrained"):
        semisonic.train("digits", network=Given, out=tmp_path / "run", **FIELDS, **{"data.normalize": "weights"})
