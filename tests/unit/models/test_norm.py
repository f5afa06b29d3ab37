"""BatchNorm: it tracks when told to, equals torch's, takes the activation in, and replaces other layers."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from semisonic.models.blocks import use_blocks
from semisonic.models.ema import shadow_of
from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import (
    BatchNorm1d,
    BatchNorm2d,
    StartUp,
    batch_statistics,
    convert_batch_norm,
    group_of,
    is_fresh,
    make_groups,
    running_statistics,
)
from tests.support.algorithms import tiny_network
from tests.support.ranks import fake_ranks


def test_running_statistics_are_those_of_evaluation():
    network = tiny_network()
    pixels = torch.randn(4, 3, 6, 6)
    network(pixels)
    kept = network.norm.running_mean.clone()
    with running_statistics():
        found = network(pixels)
    assert torch.equal(found, network.eval()(pixels)) and torch.equal(network.norm.running_mean, kept)
    assert not torch.equal(network.train()(pixels), found)


def test_batch_norm_of_features_is_torch_s():
    ours, theirs, x = BatchNorm1d(5, slope=0.1), nn.BatchNorm1d(5), torch.randn(8, 5)
    torch.testing.assert_close(ours(x), F.leaky_relu(theirs(x), 0.1))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    with pytest.raises(ValueError, match=r"takes features \[N, C\], not \[8, 5, 1, 1\]"):
        ours(x[..., None, None])


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


# Statistics that start up.


def started(layer: BatchNorm2d, batches: list[Tensor], rule: StartUp) -> tuple[Tensor, Tensor]:
    """The running statistics after a step on each batch, cut into the rule's micro-batches."""
    layer.start_up = True
    for step, batch in enumerate(batches):
        for micro in batch.chunk(rule.micro):
            with batch_statistics(track=True, start_up=rule.weight(torch.tensor(step))):
                layer(micro)
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.running_mean, layer.running_var


def test_running_statistics_start_up_by_their_formula():
    """w / (t + w), from 1 down to the momentum, which holds from then on."""
    torch.manual_seed(0)
    batches = [torch.randn(6, 3, 4, 4).double() + step for step in range(12)]
    found = started(BatchNorm2d(3, momentum=0.3).double(), batches, StartUp(2.0))
    mean, var = torch.full((3,), 99.0).double(), torch.full((3,), 99.0).double()  # what they begin with counts by 0
    for step, batch in enumerate(batches):
        weight = max(0.3, 2 / (step + 2))
        mean = (1 - weight) * mean + weight * batch.mean((0, 2, 3))
        var = (1 - weight) * var + weight * batch.transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(found, (mean, var), rtol=0, atol=1e-12)


def test_micro_batches_start_up_as_far_as_their_step():
    """Two updates by 1 - (1-m)^(1/2) each, with m of the step."""
    torch.manual_seed(0)
    batches, rule = [torch.randn(6, 3, 4, 4).double() for _ in range(5)], StartUp(10.0, micro=2)
    momentum = 1 - (1 - 0.8) ** 0.5
    mean, _ = started(BatchNorm2d(3, momentum=momentum).double(), batches, rule)
    expected = torch.zeros(3).double()
    for step, batch in enumerate(batches):
        weight = 1 - (1 - max(0.8, 10 / (step + 10))) ** 0.5
        for micro in batch.chunk(2):
            expected = (1 - weight) * expected + weight * micro.mean((0, 2, 3))
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-12)
    whole = float(StartUp(10.0).weight(torch.tensor(3)))
    assert 1 - (1 - float(rule.weight(torch.tensor(3)))) ** 2 == pytest.approx(whole, abs=1e-15)


def test_only_layers_that_start_up_do():
    layer, images = BatchNorm2d(3, momentum=0.25), torch.ones(4, 3, 2, 2)
    with batch_statistics(track=True, start_up=torch.tensor(1.0)):
        layer(images)  # by its momentum
        with batch_statistics(track=False):
            layer(images)
        layer.start_up = True
        with batch_statistics(track=False), running_statistics():
            layer(images)
    assert torch.equal(layer.running_mean, torch.full((3,), 0.25))
    layer(images)  # outside
    assert torch.equal(layer.running_mean, torch.full((3,), 0.4375))


def test_statistics_are_fresh_until_they_are_moved_or_loaded():
    layer = BatchNorm2d(3)
    assert is_fresh(layer) and not is_fresh(BatchNorm2d(3, track_running_stats=False))
    moved, loaded = BatchNorm2d(3), BatchNorm2d(3)
    moved(torch.randn(4, 3, 2, 2))
    loaded.load_state_dict(layer.state_dict() | {"running_var": torch.full((3,), 2.0)})
    assert not is_fresh(moved) and not is_fresh(loaded)


class Starting(nn.Module):
    """A network whose statistics start up by a counter of steps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        for module in self.network.modules():
            if isinstance(module, BatchNorm2d):
                module.start_up = True

    def forward(self, images: Tensor) -> Tensor:
        with batch_statistics(track=True, start_up=StartUp(10.0).weight(self.step).float()):
            loss = self.network(images).square().sum()
        with batch_statistics(track=False):
            return loss + self.network(images + 1).sum()


def run_starting(backend: str | None = None, blocks: bool = False, recompute: bool = False) -> dict[str, Tensor]:
    """blocks: of a network that is made of some, each is compiled, or none."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    small = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm2d(4, momentum=0.01, slope=0), nn.Flatten())
    module = Starting(build(ModelConfig(name="wrn-10-1"), 4, 8) if blocks else small)
    call: Callable[[Tensor], Tensor] = module
    if blocks:
        use_blocks(module, recompute, backend is not None)
    elif backend:
        call = torch.compile(module.forward, fullgraph=True, dynamic=False, backend=backend)
    for step in range(3):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            call(torch.randn(3, 3, 8, 8)).backward()
        module.step += 1
    return module.state_dict()


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_one_graph_starts_up_as_eager_code_does(backend: str):
    """The weight of a batch is another one in each step of the same graph."""
    expected = run_starting()
    assert_close(run_starting(backend), expected)
    assert expected["network.1.num_batches_tracked"] == 3


def test_blocks_that_are_computed_again_start_up_once():
    found, expected = run_starting(blocks=True, recompute=True), run_starting(blocks=True)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_that_are_compiled_start_up(recompute: bool, monkeypatch: pytest.MonkeyPatch):
    expected, compile = run_starting(blocks=True), torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile(function, **options, backend="aot_eager"))
    assert_close(run_starting("aot_eager", blocks=True, recompute=recompute), expected)


def test_groups_of_ranks_are_made_once_for_a_process_group():
    with fake_ranks(6):
        with pytest.raises(RuntimeError, match=r"make_groups\(2\) was not called"):
            group_of(2)
        with pytest.raises(ValueError, match="6 ranks do not divide into 4 equal groups"):
            make_groups(4)
        make_groups(2)
        make_groups(3)
        sizes = [torch.distributed.get_world_size(group_of(count)) for count in (1, 2, 3)]
        assert sizes == [6, 3, 2]
    with fake_ranks(6), pytest.raises(RuntimeError, match="was not called"):
        group_of(2)  # those that are there are of other ranks


def test_layers_are_given_their_groups():
    network = build(ModelConfig(name="small", norm_groups=3), 10, 8)
    assert {layer.groups for layer in network.modules() if isinstance(layer, BatchNorm2d)} == {3}
    assert copy.deepcopy(network) is not network  # an EMA's is one


def test_one_graph_has_messages_of_its_group_alone():
    found: list[object] = []

    def backend(module: torch.fx.GraphModule, inputs: object) -> object:
        found.extend(node.args[1:] for node in module.graph.nodes if "all_gather" in str(node.target))
        return module.forward

    layer = BatchNorm2d(3)
    layer.groups = 2
    with fake_ranks(6):
        make_groups(2)
        torch.compile(layer.forward, fullgraph=True, dynamic=False, backend=backend)(torch.randn(2, 3, 4, 4))
        assert found == [(3, group_of(2).group_name)]
