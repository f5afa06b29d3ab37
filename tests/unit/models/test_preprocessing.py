"""What weights expect of images, known by their names."""

from pathlib import Path

import pytest
from torchvision import models as zoo

from semisonic.data.sets.base import IMAGENET_MEAN, IMAGENET_STD
from semisonic.models import torchvision_nets
from semisonic.models.networks import ModelConfig
from semisonic.models.preprocessing import preprocessing_of


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
