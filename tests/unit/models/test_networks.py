"""Networks: sizes and semantics of the literature, live parameters, BatchNorm that tracks when told to."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from semisonic.models.ema import shadow_of
from semisonic.models.networks import ModelConfig, build, model_problems, models
from semisonic.models.norm import BatchNorm2d, batch_statistics, convert_batch_norm, running_statistics
from semisonic.models.torchvision_nets import TorchvisionNet
from semisonic.models.wide_resnet import Block, WideResNet, parse
from semisonic.schema import UserError


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def without_gradient(network: nn.Module, image_size: int, batch: int = 2) -> dict[str, int]:
    """Size of every parameter that gets no gradient from a loss on the logits."""
    network(torch.randn(batch, 3, image_size, image_size)).square().sum().backward()
    return {name: p.numel() for name, p in network.named_parameters() if p.grad is None}


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


def test_small_network() -> None:
    network = build(ModelConfig(name="small"), 10, 16)
    assert 50_000 < parameters(network) < 150_000
    assert without_gradient(network, 16) == {}
    assert {m.momentum for m in network.modules() if isinstance(m, BatchNorm2d)} == {0.1}
    assert network(torch.zeros(2, 3, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(("name", "slope", "layers"), [("wrn-10-1", 0.1, 7), ("wrn-13-1", 0.1, 9), ("small", 0, 4)])
def test_activation_inside_of_batch_norm_changes_no_bit(
    name: str, slope: float, layers: int, layout: torch.memory_format
) -> None:
    """Of logits, gradients and running statistics, in one process."""
    torch.manual_seed(0)
    network = build(ModelConfig(name=name), 10, 16).to(memory_format=layout)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.weight)  # half of them negative
        nn.init.normal_(norm.bias)
    separate = copy.deepcopy(network)
    assert [norm.slope for norm in norms] == [slope] * layers
    for module in separate.modules():
        if isinstance(module, BatchNorm2d):
            module.slope = None
            module.register_forward_hook(lambda m, given, y: F.leaky_relu(y, slope) if slope else F.relu(y))
    images = torch.randn(3, 3, 16, 16).to(memory_format=layout)
    for train in (True, False):
        logits, expected = network.train(train)(images), separate.train(train)(images)
        assert logits.equal(expected)
        logits.square().sum().backward()
        expected.square().sum().backward()
        for own, other in zip(network.parameters(), separate.parameters(), strict=True):
            assert own.grad.equal(other.grad)
    assert all(value.equal(separate.state_dict()[key]) for key, value in network.state_dict().items())


def test_keys_of_saved_networks() -> None:
    """Those of networks with activations of their own."""
    keys = {key.rsplit(".", 1)[0] for key in build(ModelConfig(name="small"), 10, 16).state_dict()}
    assert keys == {f"layers.{i}" for i in (0, 1, 4, 5, 8, 9, 11, 12)} | {"head"}
    block = {
        key.split(".", 2)[2] for key in build(ModelConfig(name="wrn-10-1"), 10, 16).state_dict() if "blocks.0" in key
    }
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert block == {f"bn{i}.{name}" for i in (1, 2) for name in norm} | {"conv1.weight", "conv2.weight"}


# All networks.

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


def test_network_without_linear_classifier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models as zoo

    monkeypatch.setattr(zoo, "get_model", lambda name, **_: nn.Sequential(nn.Conv2d(3, 5, 1)))
    with pytest.raises(UserError, match="no linear classifier"):
        TorchvisionNet("strange", 5, 32)


def test_list_of_models() -> None:
    listed = models()
    assert {"wrn-28-2", "small", "resnet50", "efficientnet_b7"} <= listed.keys()
    assert all(line for line in listed.values())


# BatchNorm.


class TwoForwards(nn.Module):
    """One tracking forward, and one that does not track of the network and of its shadow."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4, slope=0), nn.Flatten())
        self.shadow = shadow_of(self.network)

    def forward(self, images: Tensor) -> Tensor:
        with batch_statistics(track=True):
            tracked = self.network(images)
        with batch_statistics(track=False):
            untracked, shadow = self.network(2 * images + 1), self.shadow(images)
        return tracked.square().sum() + untracked.sum() + shadow.sum()


def test_forward_without_tracking_leaves_buffers_alone() -> None:
    network = build(ModelConfig(name="wrn-10-1"), 10, 8)
    images = torch.randn(4, 3, 8, 8)
    network(images)
    before, tracked = copy.deepcopy(network.state_dict()), network(images)
    after = copy.deepcopy(network.state_dict())
    assert not before["norm.running_mean"].equal(after["norm.running_mean"])
    assert after["norm.num_batches_tracked"] == 2
    with batch_statistics(track=False):
        untracked = network(images)
    assert untracked.equal(tracked)
    assert all(value.equal(after[key]) for key, value in network.state_dict().items())


def test_tracking_comes_back_after_nesting_and_errors() -> None:
    layer, images = BatchNorm2d(3), torch.randn(2, 3, 2, 2)
    with pytest.raises(RuntimeError, match="inside"), batch_statistics(track=False):
        with batch_statistics(track=True):
            layer(images)
        layer(images)
        raise RuntimeError("inside")
    assert layer.num_batches_tracked == 1
    layer(images)
    assert layer.num_batches_tracked == 2


def test_evaluation_uses_running_statistics_whether_tracking_or_not() -> None:
    layer = BatchNorm2d(3).eval()
    layer.running_mean.fill_(2.0)
    images = torch.randn(2, 3, 2, 2)
    expected = (images - 2) / math.sqrt(1 + 1e-5)
    for track in (True, False):
        with batch_statistics(track=track):
            torch.testing.assert_close(layer(images), expected)
    assert layer.num_batches_tracked == 0


def test_running_statistics_are_used_in_training_and_left_alone() -> None:
    network = build(ModelConfig(name="wrn-10-1"), 10, 8)
    images = torch.randn(4, 3, 8, 8)
    network(images)
    before, trained = copy.deepcopy(network.state_dict()), network(images)
    network.load_state_dict(before)
    expected = network.eval()(images)
    network.train()
    for track in (True, False):
        with running_statistics(), batch_statistics(track=track):
            assert network(images).equal(expected) and not expected.equal(trained)
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())
    with pytest.raises(RuntimeError, match="inside"), running_statistics():
        raise RuntimeError("inside")
    assert network(images).equal(trained)


def run_two_forwards(backend: str | None) -> TwoForwards:
    torch.manual_seed(0)
    torch._dynamo.reset()
    module = TwoForwards()
    counter = CompileCounterWithBackend(backend) if backend else None
    call = torch.compile(module.forward, fullgraph=True, dynamic=False, backend=counter) if counter else module
    for step in range(4):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            call(torch.randn(2, 3, 6, 6)).backward()
    if counter:
        assert counter.frame_count == 1
    return module


@pytest.mark.parametrize("backend", [None, "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)], ids=str)
def test_one_graph_tracks_once_a_step(backend: str | None) -> None:
    module = run_two_forwards(backend)
    expected = run_two_forwards(None).state_dict()
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, expected[key])
    assert module.network[1].num_batches_tracked == 4
    assert module.network[1].running_mean.any()
    assert module.shadow[1].num_batches_tracked == 0
    assert not module.shadow[1].running_mean.any()
    assert module.shadow[1].running_var.equal(torch.ones(4))


def test_layer_equals_torchs() -> None:
    ours, theirs = BatchNorm2d(3, momentum=0.2), nn.BatchNorm2d(3, momentum=0.2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for _ in range(3):
        images = torch.randn(4, 3, 5, 5)
        assert ours(images).equal(theirs(images))
    for key, value in theirs.state_dict().items():
        assert ours.state_dict()[key].equal(value)
    assert ours.eval()(images).equal(theirs.eval()(images))


def test_conversion_keeps_values_and_keys() -> None:
    shared = nn.BatchNorm2d(3, eps=0.5, momentum=0.3)
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
    network = nn.Sequential(shared, inner, nn.Conv2d(4, 3, 1), shared)
    network.eval()
    nn.init.normal_(shared.weight)
    shared.running_mean.fill_(2.0)
    expected, images = copy.deepcopy(network), torch.randn(2, 3, 4, 4)
    kept = dict(network.named_parameters())
    assert convert_batch_norm(network) is network
    layers = [network[0], network[1][1], network[3]]
    assert [type(layer) for layer in layers] == [BatchNorm2d] * 3
    assert network[0] is network[3]
    assert not network[0].training
    assert (network[0].eps, network[0].momentum) == (0.5, 0.3)
    assert all(parameter is kept[name] for name, parameter in network.named_parameters())
    assert list(network.state_dict()) == list(expected.state_dict())
    assert network(images).equal(expected(images))
    again = network[0]
    again.slope = 0.2
    convert_batch_norm(network, momentum=0.01, eps=1e-3)
    assert network[0] is again
    assert {(layer.momentum, layer.eps) for layer in layers} == {(0.01, 1e-3)}
    assert [layer.slope for layer in layers] == [0.2, None, 0.2]


def test_conversion_of_a_single_layer_and_of_a_cumulative_average() -> None:
    assert type(convert_batch_norm(nn.BatchNorm2d(3))) is BatchNorm2d
    cumulative = nn.Sequential(nn.BatchNorm2d(3, momentum=None))
    with pytest.raises(ValueError, match="momentum None"):
        convert_batch_norm(cumulative)
    assert convert_batch_norm(cumulative, momentum=0.1)[0].momentum == 0.1


def test_layer_with_an_activation() -> None:
    layer, images = BatchNorm2d(3, slope=0.2), torch.randn(2, 3, 4, 4)
    assert list(layer.state_dict()) == list(nn.BatchNorm2d(3).state_dict())
    assert "slope=0.2" in repr(layer) and "slope" not in repr(BatchNorm2d(3))
    assert layer(images).equal(F.leaky_relu(nn.BatchNorm2d(3)(images), 0.2))
    with pytest.raises(ValueError, match="slope must be None or a number from 0 on, not -1"):
        BatchNorm2d(3, slope=-1)(images)


def test_layer_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="4D"):
        BatchNorm2d(3)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="channels"):
        BatchNorm2d(3)(torch.zeros(2, 4, 2, 2))
