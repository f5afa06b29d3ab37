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


def test_all_weights_of_torchvision_have_one_normalization():
    weights = [own for name in torchvision_nets.names() for own in zoo.get_model_weights(name)]
    assert len(weights) > 80
    assert {tuple(own.transforms().mean) for own in weights} == {IMAGENET_MEAN}
    assert {tuple(own.transforms().std) for own in weights} == {IMAGENET_STD}
