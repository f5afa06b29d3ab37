"""The moving average of many tensors against its reference; Triton runs interpreted on CPUs."""

import copy

import pytest
import torch
from torch import Tensor

from semisonic_kernels.ema import MovingAverage, ema_update, ema_update_reference, lerp_launch
from semisonic_kernels.multi_tensor import Launch
from tests.support.devices import DEVICES
from tests.support.tensors import scalar, tensors

pytestmark = pytest.mark.kernels("fused")


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
