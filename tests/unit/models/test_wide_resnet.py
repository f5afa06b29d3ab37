"""Wide ResNets: sizes of the literature, names, what each layer takes, live parameters, initial values."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import BatchNorm2d
from semisonic.models.wide_resnet import Block, WideResNet, parse
from tests.support.networks import parameters, without_gradient


# Sizes: parameters, BatchNorm buffers, and millions of multiply-adds at 32 px (96 px for the last).
@pytest.mark.parametrize(
    ("name", "classes", "image_size", "count", "buffers", "macs"),
    [
        ("wrn-28-2", 10, 32, 1_467_610, 3_641, 214.35),
        ("wrn-28-2", 100, 32, 1_479_220, 3_641, 214.36),
        ("wrn-28-8", 100, 32, 23_401_012, 14_393, 3360.1),
        ("wrn-40-2", 10, 32, 2_243_546, 5_445, 327.60),
        ("wrn-34-2", 10, 32, 1_855_578, 4_543, 270.98),
        ("wrn-37-2", 10, 32, 5_929_434, 7_745, 285.66),
        ("wrn-37-2", 10, 96, 5_929_434, 7_745, 645.7),
    ],
)
def test_sizes_of_wide_resnets(name: str, classes: int, image_size: int, count: int, buffers: int, macs: float) -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name=name), classes, image_size)
        with FlopCounterMode(display=False) as counter:
            assert network(torch.empty(1, 3, image_size, image_size)).shape == (1, classes)
    assert parameters(network) == count
    assert sum(buffer.numel() for buffer in network.buffers()) == buffers
    assert counter.get_total_flops() / 2e6 == pytest.approx(macs, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("wrn-28-2", (3, 4, 2)),
        ("wrn-10-1", (3, 1, 1)),
        ("wrn-37-2", (4, 4, 2)),
        ("wrn-13-3", (4, 1, 3)),
        ("wrn-27-2", None),
        ("wrn-4-2", None),
        ("wrn-5-2", None),
        ("wrn-28-0", None),
        ("wrn-28", None),
        ("wrn-028-2", None),
        ("resnet18", None),
    ],
)
def test_names_of_wide_resnets(name: str, shape: tuple[int, int, int] | None) -> None:
    assert parse(name) == shape


def test_first_stride_of_wide_resnets() -> None:
    def stride(name: str, image_size: int, **fields: int) -> int:
        with torch.device("meta"):
            network = build(ModelConfig(name=name, **fields), 10, image_size)
        return network.blocks[0].conv1.stride[0]

    assert [stride("wrn-28-2", 32), stride("wrn-28-2", 96), stride("wrn-37-2", 32)] == [1, 1, 1]
    assert stride("wrn-37-2", 96) == 2
    assert stride("wrn-37-2", 96, first_stride=1) == 1
    assert stride("wrn-28-2", 32, first_stride=2) == 2


@pytest.mark.parametrize("name", ["wrn-28-2", "wrn-13-1"])
def test_every_parameter_of_a_wide_resnet_lives(name: str) -> None:
    assert without_gradient(build(ModelConfig(name=name), 10, 16), 16) == {}


def test_port_has_four_dead_tensors() -> None:
    network = build(ModelConfig(residual="port"), 10, 16)
    dead = without_gradient(network, 16)
    assert dead == {
        "blocks.4.bn1.weight": 32,
        "blocks.4.bn1.bias": 32,
        "blocks.8.bn1.weight": 64,
        "blocks.8.bn1.bias": 64,
    }
    assert sum(dead.values()) == 192
    shapes = {key: value.shape for key, value in build(ModelConfig(), 10, 16).state_dict().items()}
    assert shapes == {key: value.shape for key, value in network.state_dict().items()}


@pytest.mark.parametrize("residual", ["tf", "port"])
def test_what_convolutions_and_shortcuts_of_wide_resnets_take(residual: str) -> None:
    network = WideResNet(3, 2, 2, 10, residual).eval()
    for module in network.modules():
        if isinstance(module, BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    taken: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, Block) or name.endswith(("conv1", "shortcut")):
            module.register_forward_pre_hook(lambda m, args, key=name: taken.__setitem__(key, args[0]))
    network(torch.randn(2, 3, 8, 8))
    for position, block in enumerate(network.blocks):
        raw = taken[f"blocks.{position}"]
        normalized = F.batch_norm(
            raw, block.bn1.running_mean, block.bn1.running_var, block.bn1.weight, block.bn1.bias, eps=1e-3
        )
        activated = torch.where(normalized > 0, normalized, 0.1 * normalized)
        conv_raw = residual == "port" and position in (2, 4)
        torch.testing.assert_close(taken[f"blocks.{position}.conv1"], raw if conv_raw else activated)
        shortcut = activated if position == 0 else raw
        torch.testing.assert_close(taken[f"blocks.{position}.shortcut"], shortcut)
    kinds = [type(block.shortcut) for block in network.blocks]
    assert kinds == [nn.Conv2d, nn.Identity] * 3


def test_shortcut_of_the_first_block_is_activated_without_a_projection() -> None:
    network = WideResNet(3, 1, 1, 10).eval()
    block, x = network.blocks[0], torch.randn(2, 16, 8, 8)
    nn.init.zeros_(block.conv2.weight)
    torch.testing.assert_close(block(x), block.bn1(x))


def test_initial_values_of_wide_resnets() -> None:
    torch.manual_seed(0)
    network = build(ModelConfig(), 10, 32)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            spread = 5 * expected / math.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(expected, abs=spread)
            assert module.bias is None
        elif isinstance(module, BatchNorm2d):
            assert (module.momentum, module.eps) == (0.001, 1e-3)
    assert network.head.weight.std().item() == pytest.approx(math.sqrt(2 / (128 + 10)), rel=0.1)
    assert not network.head.bias.any()
