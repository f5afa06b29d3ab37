"""The moving average and the fused SGD step against their plain-torch references; Triton runs interpreted on CPUs."""

import copy

import pytest
import torch
from torch import Tensor

from semisonic.models.networks import ModelConfig, build
from semisonic_kernels.ema import MovingAverage, ema_update, ema_update_reference, lerp_launch
from semisonic_kernels.multi_tensor import BLOCK, Launch, finish_capture, laid_out_alike
from semisonic_kernels.sgd import SgdWithAverage, sgd_with_average_reference

pytestmark = pytest.mark.kernels("fused")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 5, 7), (0, 4), (BLOCK + 3,)]


def tensors(dtype: torch.dtype, seed: int, device: str = "cpu", strided: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=generator).to(device, dtype) for shape in SHAPES]
    nhwc = torch.randn(2, 3, 4, 5, generator=generator)
    found.append(nhwc.to(device, dtype, memory_format=torch.channels_last))
    if strided:
        found.append(torch.randn(6, 5, generator=generator).to(device, dtype).t()[::2])
    return found


def scalar(value: float, device: str = "cpu") -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("source_dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [0.03, 0.8])
def test_ema_equals_the_reference(weight: float, dtype: torch.dtype, source_dtype: torch.dtype, device: str) -> None:
    averages, sources = tensors(dtype, 0, device), tensors(source_dtype, 1, device)
    expected, before = copy.deepcopy(averages), copy.deepcopy(sources)
    average = MovingAverage(averages, sources)
    for _ in range(3):
        average.update(scalar(weight, device))
        ema_update_reference(expected, sources, scalar(weight, device))
    torch.testing.assert_close(averages, expected)
    torch.testing.assert_close(sources, before, rtol=0, atol=0)
    assert not torch.equal(averages[2], tensors(dtype, 0, device)[2])


@pytest.mark.parametrize("source_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [0.03, 0.8])
def test_ema_in_one_launch_equals_foreach(weight: float, dtype: torch.dtype, source_dtype: torch.dtype) -> None:
    averages, sources = tensors(dtype, 0, strided=False), tensors(source_dtype, 1, strided=False)
    expected = copy.deepcopy(averages)
    launch = Launch([average.numel() for average in averages], torch.device("cpu"))
    for _ in range(2):
        lerp_launch(launch, averages, sources, scalar(weight))
        MovingAverage(expected, sources).update(scalar(weight))
    # Products and sums are rounded one by one here, and may be fused there.
    torch.testing.assert_close(averages, expected, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=1e-7)


def test_ema_takes_averages_of_several_dtypes() -> None:
    averages, sources = tensors(torch.float32, 0), tensors(torch.float32, 1)
    averages[1], averages[4] = averages[1].double(), averages[4].double()
    expected = copy.deepcopy(averages)
    ema_update(averages, sources, scalar(0.3))
    ema_update_reference(expected, sources, scalar(0.3))
    torch.testing.assert_close(averages, expected)


@pytest.mark.gpu
def test_neither_waits_for_the_device() -> None:
    averages, sources = tensors(torch.float32, 0, "cuda"), tensors(torch.bfloat16, 1, "cuda")
    parameters = tensors(torch.float32, 2, "cuda", strided=False)
    gradients, momenta, shadows = (copy.deepcopy(parameters) for _ in range(3))
    average = MovingAverage(averages, sources)
    step = SgdWithAverage(parameters, momenta, shadows, [0.1] * len(parameters), 0.9, True)
    weight = scalar(0.03, "cuda")
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        average.update(weight)
        step.step(gradients, weight, weight)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.gpu
def test_a_captured_step_finds_its_tensors() -> None:
    """Also where the graph itself writes to small blocks that it allocated and freed before."""
    parameters = tensors(torch.float32, 2, "cuda", strided=False)
    gradients, momenta, shadows = (copy.deepcopy(parameters) for _ in range(3))
    eager = [copy.deepcopy(column) for column in (parameters, gradients, momenta, shadows)]
    decays, rate, weight = [0.1] * len(parameters), scalar(0.1, "cuda"), scalar(0.03, "cuda")
    step = SgdWithAverage(parameters, momenta, shadows, decays, 0.9, True)
    other = SgdWithAverage(eager[0], eager[2], eager[3], decays, 0.9, True)
    step.step(gradients, rate, weight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for size in range(1, 4096, 64):
            torch.full((size,), 7, device="cuda")
        step.step(gradients, rate, weight)
        step.step(gradients, rate, weight)
    finish_capture()
    graph.replay()
    graph.replay()
    for _ in range(5):
        other.step(eager[1], rate, weight)
    torch.testing.assert_close([parameters, momenta, shadows], [eager[0], eager[2], eager[3]], rtol=0, atol=0)


@pytest.mark.gpu
def test_a_launch_must_have_run_before_it_is_captured() -> None:
    averages, sources = tensors(torch.float32, 0, "cuda"), tensors(torch.float32, 1, "cuda")
    average, weight = MovingAverage(averages, sources), scalar(0.03, "cuda")
    with pytest.raises(RuntimeError, match="run once before it is captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        average.update(weight)


def test_ema_of_a_constant_is_a_fixed_point_and_start_decays_geometrically() -> None:
    average, source = torch.full((3,), 2.0, dtype=torch.float64), torch.full((3,), 5.0, dtype=torch.float64)
    for _ in range(7):
        ema_update([average, source], [source, source.clone()], scalar(0.1))
    torch.testing.assert_close(average, torch.full_like(average, 0.9**7 * 2 + (1 - 0.9**7) * 5))
    assert torch.equal(source, torch.full_like(source, 5.0))


def test_ema_of_bfloat16_sources_moves_in_float32() -> None:
    average, source = torch.ones(4), torch.full((4,), 1.5, dtype=torch.bfloat16)
    ema_update([average], [source], torch.tensor(1e-3))
    torch.testing.assert_close(average, torch.full((4,), 1.0005), rtol=0, atol=1e-7)


def test_ema_takes_parameters_and_stays_out_of_autograd() -> None:
    average, parameter = torch.zeros(3), torch.nn.Parameter(torch.ones(3))
    ema_update([average], [parameter], torch.tensor(0.5))
    assert not average.requires_grad
    torch.testing.assert_close(average, torch.full((3,), 0.5))


@pytest.mark.parametrize(
    ("averages", "sources", "message"),
    [
        ([torch.zeros(2)], [], "1 averages but 0 sources"),
        ([torch.zeros(2)], [torch.zeros(3)], "differ in shape at position 0"),
        ([torch.zeros(2).long()], [torch.zeros(2)], "only floating tensors"),
        ([torch.zeros(2)], [torch.zeros(2).long()], "only floating tensors"),
        ([torch.zeros(2)], [torch.zeros(2, device="meta")], "source on meta"),
    ],
)
@pytest.mark.parametrize("update", [ema_update, ema_update_reference])
def test_ema_refuses(update, averages: list[Tensor], sources: list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update(averages, sources, torch.tensor(0.1))


@pytest.mark.parametrize("weight", [torch.tensor([0.1]), torch.tensor(1), torch.tensor(0.1, device="meta")])
def test_ema_refuses_a_weight(weight: Tensor) -> None:
    with pytest.raises(ValueError, match="0-d floating tensor on cpu"):
        ema_update([torch.zeros(2)], [torch.zeros(2)], weight)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sgd_with_average_equals_the_reference_and_torch(dtype: torch.dtype, nesterov: bool, device: str) -> None:
    parameters = tensors(dtype, 0, device, strided=False)
    momenta, averages = [torch.zeros_like(p) for p in parameters], tensors(dtype, 1, device, strided=False)
    averages[1] = None  # a head without an average
    decays = [0.1 * (position % 2) for position in range(len(parameters))]
    own, plain = copy.deepcopy((parameters, momenta, averages)), copy.deepcopy((parameters, momenta, averages))
    leaves = [p.clone().requires_grad_() for p in parameters]
    groups = [{"params": leaves[k::2], "weight_decay": 0.1 * k} for k in (0, 1)]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov)
    step = SgdWithAverage(*own, decays, 0.9, nesterov)
    rate, weight = scalar(0.1, device), scalar(0.03, device)
    for seed in range(3):
        gradients = tensors(dtype, 2 + seed, device, strided=False)
        gradients[3] = None  # nothing flowed there: no decay either
        step.step(gradients, rate, weight)
        sgd_with_average_reference(plain[0], gradients, plain[1], plain[2], decays, rate, 0.9, nesterov, weight)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        optimizer.step()
    tolerance = {"rtol": 3e-6, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(own, plain, **tolerance)
    torch.testing.assert_close(own[0], [leaf.detach() for leaf in leaves], **tolerance)
    assert torch.equal(own[0][3], parameters[3]) and not torch.equal(own[2][3], averages[3])


def test_sgd_refuses_what_does_not_fit() -> None:
    p = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="1 parameters but 2"):
        SgdWithAverage([p], [p, p], [None], [0.0], 0.9, True)
    with pytest.raises(ValueError, match=r"float64 \[2, 3\] on cpu, but torch.float32 \[2, 3\] on cpu"):
        SgdWithAverage([p], [p.double()], [None], [0.0], 0.9, True)
    with pytest.raises(ValueError, match="laid out alike"):
        SgdWithAverage([p], [torch.zeros(3, 2).t()], [None], [0.0], 0.9, True)


def test_all_parameters_of_a_network_are_laid_out_like_their_averages() -> None:
    network = build(ModelConfig(name="wrn-10-1"), 10, 32).to(memory_format=torch.channels_last)
    assert all(laid_out_alike(p, torch.zeros_like(p)) for p in network.parameters())
