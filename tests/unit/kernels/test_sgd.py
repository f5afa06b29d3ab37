"""SGD with an average in one pass against its reference and torch's."""

import copy

import pytest
import torch

from semisonic_kernels.sgd import SgdWithAverage, sgd_with_average_reference
from tests.support.devices import DEVICES
from tests.support.tensors import scalar, tensors

pytestmark = pytest.mark.kernels("fused")


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


@pytest.mark.parametrize("device", DEVICES)
def test_every_tensor_may_have_a_rate_of_its_own(device: str) -> None:
    """As one call for each rate; and with one rate for all, bit for bit as that rate alone."""
    parameters, weight = tensors(torch.float32, 0, device, strided=False), scalar(0.03, device)
    momenta, averages = [torch.zeros_like(p) for p in parameters], tensors(torch.float32, 1, device, strided=False)
    decays, count = [0.1] * len(parameters), len(parameters)
    own, plain, shared, alone = (copy.deepcopy((parameters, momenta, averages)) for _ in range(4))
    rates = [scalar(0.1 * 0.5**k, device) for k in range(count)]
    for seed in range(2):
        gradients = tensors(torch.float32, 2 + seed, device, strided=False)
        SgdWithAverage(*own, decays, 0.9, True).step(gradients, rates, weight)
        SgdWithAverage(*shared, decays, 0.9, True).step(gradients, [rates[0]] * count, weight)
        SgdWithAverage(*alone, decays, 0.9, True).step(gradients, rates[0], weight)
        for k in range(count):
            one = [part[k : k + 1] for part in plain]
            sgd_with_average_reference(
                one[0], gradients[k : k + 1], one[1], one[2], decays[:1], rates[k], 0.9, True, weight
            )
    torch.testing.assert_close(own, plain, rtol=3e-6, atol=1e-6)
    assert all(map(torch.equal, own[0][:1], shared[0][:1])) and not torch.equal(own[0][-1], shared[0][-1])
    assert all(
        torch.equal(a, b) for mine, theirs in zip(shared, alone, strict=True) for a, b in zip(mine, theirs, strict=True)
    )


def test_sgd_refuses_what_does_not_fit() -> None:
    p = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="1 parameters but 2"):
        SgdWithAverage([p], [p, p], [None], [0.0], 0.9, True)
    with pytest.raises(ValueError, match=r"float64 \[2, 3\] on cpu, but torch.float32 \[2, 3\] on cpu"):
        SgdWithAverage([p], [p.double()], [None], [0.0], 0.9, True)
    with pytest.raises(ValueError, match="2 rates of one dtype are needed for 1 parameters"):
        SgdWithAverage([p], [p.clone()], [None], [0.0], 0.9, True).step(
            [p], [scalar(0.1, "cpu")] * 2, scalar(0.1, "cpu")
        )
    with pytest.raises(ValueError, match="laid out alike"):
        SgdWithAverage([p], [torch.zeros(3, 2).t()], [None], [0.0], 0.9, True)
