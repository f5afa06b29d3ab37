"""What weights expect of images, known by their names."""

from pathlib import Path

import pytest
from torch import nn
from torchvision import models as zoo

from semisonic.contract import Preprocessing
from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD
from semisonic.models import torchvision_nets
from semisonic.models.networks import NETWORKS, ModelConfig, register_network
from semisonic.models.preprocessing import preprocessing_of, stated_by
from semisonic.schema import UserError


def test_random_weights_expect_nothing():
    assert preprocessing_of(ModelConfig(name="resnet18")) is None
    assert preprocessing_of(ModelConfig(name="small")) is None


@pytest.mark.parametrize(
    ("name", "size", "interpolation", "crop"),
    [
        ("resnet18", 224, "bilinear", 0.875),
        ("efficientnet_b4", 380, "bicubic", 380 / 384),
        ("vit_h_14", 518, "bicubic", 1.0),
        ("inception_v3", 299, "bilinear", 299 / 342),
    ],
)
def test_weights_of_torchvision_expect_what_torchvision_says(name: str, size: int, interpolation: str, crop: float):
    found = preprocessing_of(ModelConfig(name=name, weights=Path("w.pth")))
    assert found is not None
    assert (found.size, found.interpolation, found.crop) == (size, interpolation, crop)
    assert (found.mean, found.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert name in found.source


def test_weights_of_one_network_have_one_normalization():
    """Which of them a file holds, it does not say. VGG16's features alone are no classifier's weights."""
    for name in torchvision_nets.names():
        published = [own.transforms() for own in zoo.get_model_weights(name) if own.name != "IMAGENET1K_FEATURES"]
        found = preprocessing_of(ModelConfig(name=name, weights=Path("w.pth")))
        assert found is not None
        assert {(tuple(own.mean), tuple(own.std)) for own in published} == {(found.mean, found.std)}
    found = preprocessing_of(ModelConfig(name="efficientnet_v2_l", weights=Path("w.pth")))
    assert found is not None and found.mean == (0.5, 0.5, 0.5)


def test_a_plug_in_s_network_states_what_its_weights_expect(monkeypatch: pytest.MonkeyPatch):
    stated = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "mine", 24, "bicubic", 0.9)
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS))
    register_network("with-weights", lambda classes: nn.Linear(1, classes), "", preprocessing=stated)
    register_network("without", lambda classes: nn.Linear(1, classes), "")
    assert preprocessing_of(ModelConfig(name="with-weights")) == stated
    assert preprocessing_of(ModelConfig(name="without")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"std": (0.0, 0.5, 0.5)}, {"std": (0.5,)}, {"mean": (float("nan"),) * 3}, {"crop": 0.0}, {"crop": 1.5},
        {"crop": float("nan")}, {"size": 0}, {"interpolation": "nearest"},
    ],
)  # fmt: skip
def test_what_no_weights_can_expect_is_refused(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**{"mean": (0.5,) * 3, "std": (0.5,) * 3, "source": "mine", **wrong})


def test_a_given_network_states_it_in_timm_s_keys():
    network = nn.Linear(1, 1)
    assert stated_by(network) is None
    keys = {
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "input_size": (3, 160, 160),
        "interpolation": "bicubic",
        "crop_pct": 0.95,
    }
    network.pretrained_cfg = keys
    found = stated_by(network)
    assert found is not None and found.mean == (0.5,) * 3
    assert (found.size, found.interpolation, found.crop) == (160, "bicubic", 0.95)
    network.pretrained_cfg = lambda: keys
    assert stated_by(network) == found
    nan, inf = float("nan"), float("inf")
    for wrong in (
        {"mean": (0.5,) * 3}, {**keys, "std": (0.5, 0.5)}, {**keys, "crop_pct": "much"}, 7, {**keys, "mean": (nan,) * 3},
        {**keys, "std": (0.0,) * 3}, {**keys, "std": (58.0,) * 3}, {**keys, "crop_pct": nan}, {**keys, "crop_pct": 0},
        {**keys, "input_size": (3, inf, inf)}, {**keys, "input_size": {}}, {**keys, "input_size": (3, 0, 0)},
    ):  # fmt: skip
        network.pretrained_cfg = wrong
        with pytest.raises(UserError, match="pretrained_cfg"):
            stated_by(network)
