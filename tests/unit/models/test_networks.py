"""All networks: a head on features, the keys of saved ones, fields that reach every layer, and what is refused."""

import pytest
import torch
from torch import nn

from semisonic.models.networks import ModelConfig, build, model_problems, models
from semisonic.models.norm import BatchNorm2d
from semisonic.schema import UserError
from tests.support.networks import without_gradient


def test_keys_of_saved_networks() -> None:
    """Those of networks with activations of their own."""
    keys = {key.rsplit(".", 1)[0] for key in build(ModelConfig(name="small"), 10, 16).state_dict()}
    assert keys == {f"layers.{i}" for i in (0, 1, 4, 5, 8, 9, 11, 12)} | {"head"}
    block = {
        key.split(".", 2)[2] for key in build(ModelConfig(name="wrn-10-1"), 10, 16).state_dict() if "blocks.0" in key
    }
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert block == {f"bn{i}.{name}" for i in (1, 2) for name in norm} | {"conv1.weight", "conv2.weight"}


NETWORKS = [
    ("wrn-10-1", 16),
    ("small", 16),
    ("resnet18", 16),
    ("efficientnet_b0", 16),
    ("mobilenet_v3_small", 16),
    ("squeezenet1_1", 32),
    ("googlenet", 32),
]


@pytest.mark.parametrize(("name", "image_size"), NETWORKS)
def test_forward_is_the_head_of_the_features(name: str, image_size: int) -> None:
    network = build(ModelConfig(name=name), 7, image_size)
    assert without_gradient(network, image_size) == {}
    layers = {type(module) for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    assert layers <= {BatchNorm2d}
    network.eval()
    images = torch.randn(2, 3, image_size, image_size)
    features, logits = network.features(images), network(images)
    assert features.shape == (2, network.feature_dim)
    assert isinstance(network.head, nn.Linear)
    assert logits.shape == (2, 7)
    assert logits.equal(network.head(features))
    last = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, logits, rtol=1e-4, atol=1e-5)


def test_norm_fields_reach_every_layer() -> None:
    cfg = ModelConfig(name="wrn-10-1", norm_momentum=0.05, norm_eps=1e-4, norm_sync=False)
    layers = [m for m in build(cfg, 10, 16).modules() if isinstance(m, BatchNorm2d)]
    assert len(layers) == 7
    assert {(layer.momentum, layer.eps, layer.sync) for layer in layers} == {(0.05, 1e-4, False)}
    default = [m for m in build(ModelConfig(name="small"), 10, 16).modules() if isinstance(m, BatchNorm2d)]
    assert {(layer.momentum, layer.eps, layer.sync) for layer in default} == {(0.1, 1e-5, True)}


@pytest.mark.parametrize(
    ("fields", "image_size", "errors"),
    [
        ({}, 32, []),
        ({"name": "small"}, 16, []),
        ({"name": "resnet18", "stem": "3x3"}, 32, []),
        ({"name": "resnet81"}, 32, ["model.name: no network resnet81; did you mean resnet1"]),
        ({"name": "wrn-29-3-1"}, 32, ["model.name: wrn-29-3-1 does not exist"]),
        ({"name": "wrn-27-2"}, 32, ["model.name: wrn-27-2 does not exist"]),
        ({"name": "alexnet"}, 32, ["model.name: alexnet needs images of at least 63 px, not 32"]),
        ({"name": "inception_v3"}, 74, ["model.name: inception_v3 needs images of at least 75 px"]),
        ({"name": "vit_b_16"}, 36, ["model.name: vit_b_16 needs an image size that is a multiple of 16"]),
        (
            {"name": "small", "stem": "3x3", "residual": "port", "first_stride": 2},
            16,
            ["model.residual: ", "model.first_stride: ", "model.stem: "],
        ),
    ],
)
def test_check(fields: dict[str, object], image_size: int, errors: list[str]) -> None:
    cfg = ModelConfig(**fields)
    found = model_problems(cfg, image_size)
    assert len(found) == len(errors)
    for line, start in zip(found, errors, strict=True):
        assert line.startswith(start)
        assert "\n" not in line
    if errors:
        with pytest.raises(UserError) as caught:
            build(cfg, 10, image_size)
        assert caught.value.messages == found


def test_list_of_models() -> None:
    listed = models()
    assert {"wrn-28-2", "small", "resnet50", "efficientnet_b7"} <= listed.keys()
    assert all(line for line in listed.values())
