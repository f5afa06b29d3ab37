"""Depths of parameters: the published ids of vision transformers, timm's own grouping, and the order of blocks."""

from itertools import pairwise

import pytest
import timm
from torch import nn

from semisonic.models.layers import LayerIds, layer_ids, networks_in, no_decay
from semisonic.models.networks import ModelConfig, build
from semisonic.models.outline import sketch
from tests.support.timm_networks import VIT, timm_network


def drawn(name: str, size: int = 32) -> LayerIds | None:
    network = sketch(ModelConfig(name=name), 5, size)
    assert network is not None
    return layer_ids(network)


def test_a_vision_transformer_of_twelve_blocks_has_ids_0_to_13():
    found = layer_ids(timm_network(VIT[0], **VIT[1]))
    assert found is not None and found.count == 14
    for name, depth in found.ids.items():
        own = name.removeprefix("body.")
        if own.startswith(("patch_embed.", "cls_token", "pos_embed")):
            assert depth == 0, name
        elif own.startswith("blocks."):
            assert depth == int(own.split(".")[1]) + 1, name
        else:
            assert own.startswith(("norm.", "head.")) and depth == 13, name


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [(*VIT, 14), ("resnet50", {}, 18), ("convnext_tiny", {}, 20), ("test_vit2", {}, 10), ("test_efficientnet", {}, 7)],
)
def test_depths_are_timm_s_own_but_for_the_final_norm_of_transformers(name: str, options: dict, layers: int):
    """Which timm counts as part of the last block, and BEiT's and MAE's code as part of the head."""
    network, whole = timm_network(name, **options), timm.create_model(name, num_classes=5, **options)
    theirs = timm.models.group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
    found = layer_ids(network)
    assert found is not None and found.count == layers == max(theirs.values()) + 1
    own = {
        n.removeprefix("body.") if n.startswith("body.") else n.replace("head", network.head_path): depth
        for n, depth in found.ids.items()
    }
    final = {n for n in own if n.startswith("norm.")}
    assert own == theirs | dict.fromkeys(final, layers - 1)
    assert all(theirs[n] == layers - 2 for n in final)


@pytest.mark.parametrize(
    ("name", "size", "count", "depths"),
    [
        ("vit_b_16", 32, 14, {"class_token": 0, "encoder.pos_embedding": 0, "conv_proj.bias": 0, "encoder.ln.bias": 13}),
        ("swin_t", 32, 14, {"features.0.0.weight": 0, "features.1.1.norm1.bias": 2, "features.2.reduction.weight": 3,
                            "features.7.1.norm1.bias": 12, "norm.bias": 13}),
        ("convnext_tiny", 32, 20, {"features.0.1.weight": 0, "features.2.1.weight": 4, "features.3.0.layer_scale": 4,
                                   "features.7.2.layer_scale": 18, "classifier.0.bias": 19}),
        ("resnet18", 32, 10, {"conv1.weight": 0, "bn1.bias": 0, "layer1.1.conv1.weight": 2,
                              "layer4.0.downsample.0.weight": 7, "layer4.1.bn2.bias": 8}),
    ],
)  # fmt: skip
def test_torchvision_s_blocks_are_counted_in_their_order(name: str, size: int, count: int, depths: dict[str, int]):
    found = drawn(name, size)
    assert found is not None and found.count == count
    assert depths == {own: found.ids[f"body.{own}"] for own in depths}
    assert {found.ids[own] for own in ("head.weight", "head.bias")} == {count - 1}
    assert set(found.ids.values()) == set(range(count))


def test_this_package_s_networks_go_by_their_blocks_or_have_no_layers():
    found = drawn("wrn-10-1")
    assert found is not None and found.count == 5
    depths = {name.partition(".")[0] if "blocks" not in name else name[:8]: depth for name, depth in found.ids.items()}
    assert depths == {"stem": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "norm": 4, "head": 4}
    assert drawn("small") is None and drawn("alexnet", 64) is None
    assert drawn("maxvit_t", 224) is None  # its convolutional blocks are known, its attention is not


def test_the_same_depth_whatever_the_order_of_head_and_body():
    """TorchvisionNet registers its head first."""
    network = build(ModelConfig(name="resnet18"), 5, 32)
    assert next(iter(dict(network.named_parameters()))).startswith("head.")
    found = layer_ids(network)
    assert found is not None
    depths = [depth for name, depth in found.ids.items() if not name.startswith("head.")]
    assert all(a <= b for a, b in pairwise(depths)) and max(depths) == 8


def test_what_a_network_keeps_from_weight_decay():
    assert no_decay(timm_network(*VIT[:1], **VIT[1])) == {"body.pos_embed", "body.cls_token"}
    assert no_decay(timm_network("test_vit2")) == {"body.pos_embed", "body.reg_token"}
    assert no_decay(build(ModelConfig(name="wrn-10-1"), 5, 32)) == frozenset()


def test_networks_are_found_by_what_every_network_has():
    network = build(ModelConfig(name="wrn-10-1"), 5, 32)
    around = nn.ModuleDict({"one": network, "list": nn.ModuleList([nn.Linear(2, 2), timm_network("test_resnet")])})
    assert [path for path, _ in networks_in(around)] == ["one", "list.1"]
    assert [path for path, _ in networks_in(network)] == [""]
