"""Batch normalization over all ranks against that of the joint batch: value, gradient, and what it refuses."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.gradients import input_gradient
from semisonic.models.norm import BatchNorm2d, batch_statistics
from semisonic_kernels.sync_batch_norm import _Normalize, batch_norm, batch_norm_reference
from tests.support.devices import DEVICES

pytestmark = pytest.mark.kernels("fused")

# Batch normalization over two ranks. Every case is one call; all cases share one start of the two processes.

WORLD, MOMENTUM = 2, 0.3

# name -> (shape of a rank's batch, dtype, offset, scale, eps)
CASES = {
    "fp64": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "fp32": ((4, 5, 3, 2), torch.float32, 0.0, 1.0, 1e-3),
    "bf16": ((4, 5, 6, 2), torch.bfloat16, 0.0, 1.0, 1e-3),
    "odd": ((3, 7, 1, 5), torch.float64, 1.0, 2.0, 1e-5),
    "vectors": ((9, 3), torch.float64, 0.0, 1.0, 1e-5),
    "one value": ((1, 3), torch.float64, 0.0, 1.0, 1e-5),
    "channels_last": ((2, 4, 5, 3), torch.float32, 0.0, 1.0, 1e-3),
    "strided": ((4, 3, 2, 5), torch.float32, 0.0, 1.0, 1e-3),
    "offset": ((64, 4, 8, 8), torch.float32, 50.0, 0.01, 1e-5),
    "not affine": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "not tracked": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "layer": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "momentum on the device": ((4, 5, 3, 2), torch.float32, 0.0, 1.0, 1e-3),
    "leaky": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "leaky bf16": ((4, 5, 6, 2), torch.bfloat16, 0.0, 1.0, 1e-3),
    "leaky channels_last": ((2, 4, 5, 3), torch.float32, 0.0, 1.0, 1e-3),
    "leaky layer": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "leaky, not affine": ((4, 5, 3, 2), torch.float64, 0.0, 1.0, 1e-3),
    "relu": ((3, 7, 1, 5), torch.float64, 1.0, 2.0, 1e-5),
    "relu fp32": ((4, 5, 3, 2), torch.float32, 0.0, 1.0, 1e-3),
}

COMPILED_CASES = [
    "fp64",
    "momentum on the device",
    "bf16",
    "channels_last",
    "leaky",
    "leaky bf16",
    "leaky layer",
    "relu fp32",
]


def slope_of(case: str) -> float | None:
    return 0.3 if "leaky" in case else 0 if "relu" in case else None


def inputs(case: str, device: str = "cpu") -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Both ranks' batches (with different means) and output gradients, and weight and bias."""
    shape, dtype, offset, scale, _ = CASES[case]
    generator = torch.Generator().manual_seed(len(case))

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(device)

    batches = [((draw(*shape) + rank) * scale + offset).to(dtype) for rank in range(WORLD)]
    grads = [draw(*shape).to(dtype) for _ in range(WORLD)]
    if "channels_last" in case:
        batches = [batch.to(memory_format=torch.channels_last) for batch in batches]
    if case == "strided":
        batches = [batch.transpose(2, 3).contiguous().transpose(2, 3) for batch in batches]
        grads = [grad.transpose(2, 3).contiguous().transpose(2, 3) for grad in grads]
    parameters = torch.promote_types(dtype, torch.float32)
    return batches, grads, draw(shape[1]).to(parameters), draw(shape[1]).to(parameters)


def one_case(case: str, rank: int, compiled: bool, device: str) -> dict[str, Tensor]:
    batches, grads, weight, bias = inputs(case, device)
    x = batches[rank].requires_grad_()
    weight, bias = weight.requires_grad_(), bias.requires_grad_()
    mean, var = torch.zeros_like(weight).detach(), torch.ones_like(weight).detach()
    layer = BatchNorm2d(len(weight), CASES[case][4], MOMENTUM, device=device, dtype=weight.dtype, slope=slope_of(case))
    momentum = torch.tensor(MOMENTUM, dtype=torch.float64, device=device) if "on the device" in case else MOMENTUM
    layer.weight, layer.bias = torch.nn.Parameter(weight.detach()), torch.nn.Parameter(bias.detach())

    def call(x: Tensor) -> Tensor:
        if "layer" in case:
            return layer(x)
        affine = (None, None) if "not affine" in case else (weight, bias)
        running = (None, None) if case == "not tracked" else (mean, var)
        return batch_norm(x, *affine, *running, momentum, CASES[case][4], True, dist.group.WORLD, slope_of(case))

    y = (torch.compile(call, fullgraph=True) if compiled else call)(x)
    y.backward(grads[rank])
    if "layer" in case:
        weight, bias, mean, var = layer.weight, layer.bias, layer.running_mean, layer.running_var
    nothing = torch.zeros_like(mean)
    found = {"y": y, "x": x.grad, "weight": weight.grad, "bias": bias.grad, "mean": mean, "var": var}
    return {key: (nothing if value is None else value.detach()).cpu() for key, value in found.items()}


def several_forwards(rank: int, compiled: bool, device: str) -> dict[str, Tensor]:
    """Gradients of a loss of two forwards through two layers, the second at an input moved along an inner gradient."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, padding=1), BatchNorm2d(8, slope=0.1)]
    layers += [torch.nn.Conv2d(8, 8, 3, padding=1), BatchNorm2d(8, slope=0.1)]
    network = torch.nn.Sequential(*layers).double().to(device)
    torch.manual_seed(1 + rank)
    x, u = torch.randn(2, 4, 3, 6, 6, dtype=torch.float64).to(device)

    def second(u: Tensor) -> Tensor:
        with batch_statistics(track=False):
            return network(u).exp().mean()

    def loss(x: Tensor, u: Tensor) -> Tensor:
        return network(x).square().mean((0, 2, 3))[0] + second(u + input_gradient(second, u))

    (torch.compile(loss, fullgraph=True) if compiled else loss)(x, u).backward()
    return {name: parameter.grad.cpu() for name, parameter in network.named_parameters()}


def work(rank: int, folder: str, compiled: bool, device: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=WORLD)
    try:
        cases = COMPILED_CASES if compiled else list(CASES)
        found = {case: one_case(case, rank, compiled, device) for case in cases}
        found["several forwards"] = several_forwards(rank, compiled, device)
        if not compiled:
            found |= {f"{case} again": one_case(case, rank, compiled, device) for case in cases}
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


Ranks = list[dict[str, dict[str, Tensor]]]


def run_ranks(folder: Path, compiled: bool, device: str) -> Ranks:
    mp.spawn(work, (str(folder), compiled, device), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.fixture(scope="module", params=DEVICES)
def eager_ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return run_ranks(tmp_path_factory.mktemp("eager"), False, request.param)


@pytest.fixture(scope="module", params=DEVICES)
def compiled_ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return run_ranks(tmp_path_factory.mktemp("compiled"), True, request.param)


def check_case(ranks: Ranks, case: str) -> None:
    """Both ranks' results against BatchNorm on the concatenated batch, in float64."""
    batches, grads, weight, bias = inputs(case)
    xs = [batch.double().requires_grad_() for batch in batches]
    weight, bias = weight.double().requires_grad_(), bias.double().requires_grad_()
    mean, var = torch.zeros_like(weight).detach(), torch.ones_like(weight).detach()
    affine = (None, None) if "not affine" in case else (weight, bias)
    running = (None, None) if case == "not tracked" else (mean, var)
    assert not weight.signbit().all() and weight.signbit().any()  # so that activations see both signs
    ys = batch_norm_reference(xs, *affine, *running, MOMENTUM, CASES[case][4], slope_of(case))
    torch.autograd.backward(ys, [grad.double() for grad in grads])

    dtype = CASES[case][1]
    tight = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-5}[dtype]
    loose = 1e-2 if dtype == torch.bfloat16 else tight
    if case == "offset":  # the inputs have 4 digits after the mean is taken off
        loose = tight = 2e-3

    def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
        scale = expected.abs().max().item()
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * max(scale, 1e-30))

    for rank in range(WORLD):
        found = ranks[rank][case]
        assert found["y"].dtype == found["x"].dtype == dtype
        close(found["y"], ys[rank].detach(), loose)
        close(found["x"], xs[rank].grad, loose)
        close(found["mean"], mean, tight)
        close(found["var"], var, tight)
    if "not affine" not in case:
        close(sum(rank[case]["weight"] for rank in ranks), weight.grad, tight)
        close(sum(rank[case]["bias"] for rank in ranks), bias.grad, tight)
    assert ranks[0][case]["mean"].equal(ranks[1][case]["mean"])
    assert ranks[0][case]["var"].equal(ranks[1][case]["var"])


@pytest.mark.parametrize("case", CASES)
def test_batch_norm_of_two_ranks_is_that_of_the_joint_batch(eager_ranks: Ranks, case: str) -> None:
    check_case(eager_ranks, case)


@pytest.mark.long
@pytest.mark.parametrize("case", COMPILED_CASES)
def test_compiled_batch_norm_of_two_ranks_is_that_of_the_joint_batch(compiled_ranks: Ranks, case: str) -> None:
    check_case(compiled_ranks, case)


@pytest.mark.long
def test_several_compiled_forwards_of_two_ranks_have_the_gradients_of_eager_ones(
    eager_ranks: Ranks, compiled_ranks: Ranks
) -> None:
    for eager, compiled in zip(eager_ranks, compiled_ranks, strict=True):
        for name, gradient in eager["several forwards"].items():
            torch.testing.assert_close(compiled["several forwards"][name], gradient, rtol=1e-10, atol=1e-12)


def test_batch_norm_of_two_ranks_repeats_bit_for_bit(eager_ranks: Ranks) -> None:
    for rank in eager_ranks:
        for case in CASES:
            for key, value in rank[case].items():
                assert value.equal(rank[f"{case} again"][key]), (case, key)


def test_batch_norm_keeps_the_spread_of_values_far_from_zero(eager_ranks: Ranks) -> None:
    _, _, weight, bias = inputs("offset")
    joint = torch.cat([rank["offset"]["y"] for rank in eager_ranks]).double()
    std = ((joint - bias.view(-1, 1, 1)) / weight.view(-1, 1, 1)).std((0, 2, 3))
    var = torch.cat(inputs("offset")[0]).double().var((0, 2, 3))
    torch.testing.assert_close(std, (var / (var + 1e-5)).sqrt(), rtol=0.01, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_of_one_process_is_torchs(training: bool) -> None:
    batches, _, weight, bias = inputs("fp32")
    found = [torch.zeros(5), torch.ones(5)]
    expected = copy.deepcopy(found)
    y = batch_norm(batches[0], weight, bias, *found, MOMENTUM, 1e-3, training)
    assert y.equal(F.batch_norm(batches[0], *expected, weight, bias, training, MOMENTUM, 1e-3))
    assert found[0].equal(expected[0]) and found[1].equal(expected[1])
    assert found[0].any() == training


@pytest.mark.parametrize("momentum", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_momentum_on_the_device_is_that_of_a_number(layout: torch.memory_format, momentum: float) -> None:
    """In value and gradient bit for bit; what is not to be moved stays."""

    def run(weight_of_batch: float | Tensor, training: bool = True, tracked: bool = True) -> list[Tensor]:
        batches, grads, weight, bias = inputs("fp32")
        leaves = [value.requires_grad_() for value in (batches[0].to(memory_format=layout), weight, bias)]
        found = [torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5)]
        running = found if tracked else [None, None]
        y = batch_norm(leaves[0], *leaves[1:], *running, weight_of_batch, 1e-3, training, slope=0.1)
        y.backward(grads[0])
        return [*found, y.detach(), *(leaf.grad for leaf in leaves)]

    tensor = torch.tensor(momentum)
    found, expected = run(tensor), run(momentum)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-6, atol=1e-7)
    assert all(map(torch.equal, found[2:], expected[2:]))
    for kept in ({"training": False}, {"tracked": False}):
        assert all(map(torch.equal, run(tensor, **kept), run(momentum, **kept)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", [0, 0.0, 0.1, 1, 1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_activated_batch_norm_of_one_process_is_torchs(
    layout: torch.memory_format, dtype: torch.dtype, slope: float, training: bool
) -> None:
    """Bit for bit in value and gradient, though the activation writes over the output of the normalization."""
    batches, grads, weight, bias = inputs("bf16")
    running = torch.linspace(-1, 1, 5), torch.linspace(0.5, 2, 5)
    wide = torch.promote_types(dtype, torch.float32)

    def run(fused: bool) -> list[Tensor]:
        leaves = [
            value.detach().clone().requires_grad_() for value in (batches[0].to(dtype), weight.to(wide), bias.to(wide))
        ]
        x = leaves[0].to(memory_format=layout)
        mean, var = (value.to(wide).clone() for value in running)
        if fused:
            y = batch_norm(x, *leaves[1:], mean, var, MOMENTUM, 1e-3, training, slope=slope)
        else:
            y = F.batch_norm(x, mean, var, *leaves[1:], training, MOMENTUM, 1e-3)
            y = F.leaky_relu(y, slope) if slope else F.relu(y)
        y.backward(grads[0].to(dtype).to(memory_format=layout))
        return [y.detach(), mean, var, *(leaf.grad for leaf in leaves)]

    for found, expected in zip(run(True), run(False), strict=True):
        assert found.equal(expected) and found.stride() == expected.stride()


def test_activated_batch_norm_in_a_functional_transform() -> None:
    batches, grads, weight, bias = inputs("fp64")

    def of(x: Tensor) -> Tensor:
        return (batch_norm(x, weight, bias, None, None, 0.1, 1e-3, True, slope=0.1) * grads[0]).sum()

    x = batches[0].requires_grad_()
    of(x).backward()
    torch.testing.assert_close(torch.func.grad(of)(batches[0].detach()), x.grad)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", [0, 0.1])
def test_gradients_of_activated_batch_norm_equal_finite_differences(slope: float, training: bool) -> None:
    batches, _, weight, bias = inputs("fp64")

    def of(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(
            x, weight, bias, torch.zeros(5).double(), torch.ones(5).double(), 0.1, 1e-3, training, slope=slope
        )

    assert torch.autograd.gradcheck(of, [value.requires_grad_() for value in (batches[0], weight, bias)])


def test_synchronized_batch_norm_keeps_its_input_alone() -> None:
    """Neither what the activation is given nor what it gives."""
    batches, _, weight, bias = inputs("leaky")
    kept: list[Tensor] = []
    arguments = (
        batches[0].requires_grad_(),
        weight.requires_grad_(),
        bias.requires_grad_(),
        bias.detach(),
        bias.detach(),
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda _: None):
        _Normalize.apply(*arguments, "group", 1, 0.3)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() > 5] == [batches[0].data_ptr()]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("slope", [0, 0.1])
def test_activated_batch_norm_in_one_graph(slope: float, backend: str) -> None:
    batches, grads, weight, bias = inputs("leaky channels_last")

    def run(call: Callable) -> list[Tensor]:
        leaves = [value.detach().clone().requires_grad_() for value in (batches[0], weight, bias)]
        y = call(*leaves)
        y.backward(grads[0])
        return [y.detach(), *(leaf.grad for leaf in leaves)]

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(x, weight, bias, None, None, 0.1, 1e-3, True, slope=slope)

    compiled = torch.compile(call, fullgraph=True, backend=backend)
    expected = run(call)
    for step in range(2):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            torch.testing.assert_close(run(compiled), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(4)}, "floating tensor"),
        ({"slope": -0.1}, "slope must be None or a number from 0 on, not -0.1"),
        ({"slope": float("nan")}, "slope must be None"),
        ({"x": torch.zeros(4, 5).long()}, "floating tensor"),
        ({"weight": torch.ones(4)}, "weight has shape"),
        ({"bias": None}, "or neither"),
        ({"running_var": None}, "or neither"),
        ({"running_mean": torch.zeros(6)}, "running_mean has shape"),
        ({"running_mean": None, "running_var": None, "training": False}, "needs running statistics"),
    ],
)
def test_batch_norm_refuses(changed: dict[str, object], message: str) -> None:
    arguments = {
        "x": torch.zeros(4, 5),
        "weight": torch.ones(5),
        "bias": torch.zeros(5),
        "running_mean": torch.zeros(5),
        "running_var": torch.ones(5),
        "momentum": 0.1,
        "eps": 1e-5,
        "training": True,
    }
    with pytest.raises(ValueError, match=message):
        batch_norm(**(arguments | changed))
