"""Torchvision's networks: published sizes, kept values, the stem, and what cannot be used."""

import pytest
import torch
from torch import nn

from semisonic.models.networks import ModelConfig, build
from semisonic.models.torchvision_nets import TorchvisionNet, names
from semisonic.schema import UserError


def test_names_are_those_that_torchvision_lists() -> None:
    from torchvision import models as zoo

    assert names() == zoo.list_models(module=zoo)


def test_inception_gives_logits_alone() -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name="inception_v3"), 7, 75)
        assert network(torch.empty(2, 3, 75, 75)).shape == (2, 7)
    assert not any("aux" in name.lower() for name, _ in network.named_parameters())


def test_transformers_take_the_image_size() -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name="vit_b_16"), 7, 32)
        assert network(torch.empty(2, 3, 32, 32)).shape == (2, 7)


def test_torchvision_values_are_kept() -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = build(ModelConfig(name="resnet18", stem="7x7"), 5, 32).eval()
    theirs = resnet18(num_classes=5).eval()
    state = {name.removeprefix("body."): value for name, value in network.state_dict().items()}
    theirs.load_state_dict({name.replace("head.", "fc."): value for name, value in state.items()})
    images = torch.randn(2, 3, 64, 64)
    assert network(images).equal(theirs(images))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize(
    ("stem", "image_size", "small"),
    [("auto", 64, True), ("auto", 65, False), ("3x3", 224, True), ("7x7", 32, False)],
)
def test_stem(name: str, stem: str, image_size: int, small: bool) -> None:
    with torch.device("meta"):
        body = build(ModelConfig(name=name, stem=stem), 5, image_size).body
    if name == "resnet18":
        assert body.conv1.weight.shape[2:] == ((3, 3) if small else (7, 7))
        assert body.conv1.stride == ((1, 1) if small else (2, 2))
        assert isinstance(body.maxpool, nn.Identity) == small
    else:
        assert body.features[0][0].stride == ((1, 1) if small else (2, 2))


def test_network_without_linear_classifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models as zoo

    monkeypatch.setattr(zoo, "get_model", lambda name, **_: nn.Sequential(nn.Conv2d(3, 5, 1)))
    with pytest.raises(UserError, match="no linear classifier"):
        TorchvisionNet("strange", 5, 32)


@pytest.mark.parametrize(("name", "published"), [("resnet50", 25_557_032), ("efficientnet_b4", 19_341_616)])
def test_parameter_counts_are_torchvision_s(name: str, published: int):
    with torch.device("meta"):
        module = build(ModelConfig(name=name), 1000, 224)
    assert sum(parameter.numel() for parameter in module.parameters()) == published


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("efficientnet_b3", 12_233_232),
        ("efficientnet_b4", 19_341_616),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, published: int):
    with torch.device("meta"):
        network = build(ModelConfig(name=name), 1000, 224)
    assert sum(parameter.numel() for parameter in network.parameters()) == published
