"""Losses and targets compiled, all in one graph and each by itself: the same values again and again, and one graph for
all sizes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.losses import consistency_loss
from tests.support.devices import DEVICES
from tests.support.losses import (
    GRADIENT_TOLERANCE,
    LOSSES,
    SHAPES,
    TARGETS,
    Data,
    check_loss,
    check_target,
    data,
    values_and_gradients,
)

pytestmark = pytest.mark.kernels("fused")


def all_kernels(given: Data) -> dict[str, Tensor]:
    found = {name: kernel(*arguments(given)) for name, (kernel, arguments, _) in LOSSES.items()}
    targets = {name: kernel(*arguments(given)) for name, (kernel, arguments) in TARGETS.items()}
    return found | {name: value if isinstance(value, Tensor) else value.mask for name, value in targets.items()}


def check_all(call: Callable, given: Data) -> dict[str, Tensor]:
    given = given._replace(logits=given.logits.detach().requires_grad_())

    def gradient(found: dict[str, Tensor]) -> Tensor:
        return torch.autograd.grad(sum(value.mean() for value in found.values()), given.logits)[0]

    found = call(given)
    with use_kernels("reference"):
        expected = all_kernels(given)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)
    tolerance = GRADIENT_TOLERANCE[given.logits.dtype] * 10
    slope = gradient(found)
    torch.testing.assert_close(slope, gradient(expected), rtol=tolerance, atol=tolerance)
    return {name: value.detach() for name, value in found.items()} | {"gradient": slope}


def test_part_of_a_larger_graph_that_is_compiled_once() -> None:
    """Of float32; bfloat16 is in the graphs that the real compiler makes, below."""
    torch._dynamo.reset()
    call = torch.compile(all_kernels, fullgraph=True, dynamic=True, backend="aot_eager")
    check_all(call, data((12, 7)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        check_all(call, data((9, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_together(dtype: torch.dtype, device: str) -> None:
    call = torch.compile(all_kernels, fullgraph=True)
    first, second = (check_all(call, data((33, 10), dtype, device=device)) for _ in range(2))
    assert all(value.equal(second[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_by_itself_once_for_all_sizes(device: str) -> None:
    name = "hard, weighted"
    check_loss(consistency_loss, name, data((10, 10), device=device))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shape in SHAPES[:-1]:  # with one class, the graph is another
            check_loss(consistency_loss, name, data(shape, device=device))
        kernel, arguments, differentiated = LOSSES[name]
        first, second = (
            values_and_gradients(kernel, arguments(data((257, 10), device=device)), differentiated) for _ in range(2)
        )
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float64, marks=pytest.mark.long)], ids=str
)
@pytest.mark.parametrize("name", [*LOSSES, *TARGETS])
def test_compiled_each_by_itself(name: str, dtype: torch.dtype, device: str) -> None:
    kernel, check = (LOSSES[name][0], check_loss) if name in LOSSES else (TARGETS[name][0], check_target)
    check(kernel, name, data((10, 10), dtype, device=device))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for shape in SHAPES[:-1]:
            check(kernel, name, data(shape, dtype, device=device))
