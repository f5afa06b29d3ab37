"""What the tests of losses and targets share: their arguments, and comparisons with references in float64."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from semisonic_kernels import losses
from semisonic_kernels.losses import (
    consistency_loss,
    kl_divergence,
    probability_mse,
    pseudo_labels,
    sharpen,
    shrunk_cross_entropy,
    soft_cross_entropy,
    soft_labels,
)

SHAPES = [(1, 3), (10, 10), (257, 10), (64, 257), (5, 1)]
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-6, torch.float16: 2e-6}
GRADIENT_TOLERANCE = TOLERANCE | {torch.bfloat16: 1e-2, torch.float16: 2e-3}


class Data(NamedTuple):
    logits: Tensor
    other: Tensor
    """Other logits."""
    labels: Tensor
    probabilities: Tensor
    weights: Tensor
    """Some of them 0."""
    thresholds: Tensor
    """By class."""


def data(
    shape: tuple[int, int], dtype: torch.dtype = torch.float32, layout: str = "contiguous", device: str = "cpu"
) -> Data:
    generator = torch.Generator().manual_seed(shape[0] * 1000 + shape[1])

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    def laid_out(value: Tensor) -> Tensor:
        value = value.to(device, dtype)
        if layout == "transposed":
            return value.t().contiguous().t()
        if layout == "strided":
            return torch.stack([value, -value], -1)[..., 0]
        return value

    count, classes = shape
    return Data(
        laid_out(4 * draw(*shape)),
        laid_out(4 * draw(*shape)),
        torch.randint(classes, (count,), generator=generator).to(device),
        laid_out(draw(*shape).softmax(-1)),
        (draw(count).relu()).to(device, torch.promote_types(dtype, torch.float32)),
        draw(classes).sigmoid().to(device, torch.promote_types(dtype, torch.float32)),
    )


# name -> (kernel, its arguments, the positions of arguments that get a gradient)
LOSSES: dict[str, tuple[Callable, Callable[[Data], tuple], tuple[int, ...]]] = {
    "hard": (consistency_loss, lambda d: (d.logits, d.labels), (0,)),
    "hard, weighted": (consistency_loss, lambda d: (d.logits, d.labels, d.weights), (0,)),
    "hard, masked": (consistency_loss, lambda d: (d.logits, d.labels, d.weights > 0), (0,)),
    "soft": (consistency_loss, lambda d: (d.logits, d.probabilities), (0,)),
    "soft, weighted": (consistency_loss, lambda d: (d.logits, d.probabilities, d.weights), (0,)),
    "soft_cross_entropy": (soft_cross_entropy, lambda d: (d.logits, d.probabilities), (0, 1)),
    "shrunk_cross_entropy": (shrunk_cross_entropy, lambda d: (d.logits, d.probabilities, 0.8), (0,)),
    "kl_divergence": (kl_divergence, lambda d: (d.logits, d.other), (0, 1)),
    "probability_mse": (probability_mse, lambda d: (d.logits, d.probabilities), (0,)),
}
TARGETS: dict[str, tuple[Callable, Callable[[Data], tuple]]] = {
    "pseudo_labels": (pseudo_labels, lambda d: (d.logits, 0.6)),
    "pseudo_labels, none": (pseudo_labels, lambda d: (d.logits, 1.01)),
    "pseudo_labels, 0-d": (pseudo_labels, lambda d: (d.logits, d.thresholds[0], d.thresholds[0] + 0.1)),
    "pseudo_labels, by class": (pseudo_labels, lambda d: (d.logits, d.thresholds, 2.0)),
    "pseudo_labels, by sample": (pseudo_labels, lambda d: (d.logits, d.weights.unsqueeze(1))),
    "soft_labels": (soft_labels, lambda d: (d.logits, 0.4)),
    "soft_labels, cold": (soft_labels, lambda d: (d.logits, 1e-3)),
    "sharpen": (sharpen, lambda d: (d.probabilities, 0.5)),
    "sharpen, 0-d": (sharpen, lambda d: (d.probabilities, d.thresholds[0])),
}


def reference_of(kernel: Callable) -> Callable:
    return getattr(losses, f"{kernel.__name__}_reference")


def doubled(value: object) -> object:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance * scale)


def values_and_gradients(call: Callable, arguments: tuple, differentiated: tuple[int, ...]) -> list[Tensor]:
    arguments = tuple(
        value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in arguments
    )
    result = call(*arguments)
    # Unequal weights of the rows, so that a row that is taken for another shows.
    total = (result * torch.linspace(0.5, 1.5, result.numel(), device=result.device).view_as(result)).sum()
    inputs = [value for value in arguments if isinstance(value, Tensor) and value.requires_grad]
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    owners = [i for i, value in enumerate(arguments) if isinstance(value, Tensor) and value.requires_grad]
    assert tuple(i for i, gradient in zip(owners, found, strict=True) if gradient is not None) == differentiated
    return [result.detach(), *(gradient for gradient in found if gradient is not None)]


def check_loss(call: Callable, name: str, given: Data) -> None:
    """Against the reference in float64."""
    kernel, arguments, differentiated = LOSSES[name]
    dtype = given.logits.dtype
    found = values_and_gradients(call, arguments(given), differentiated)
    expected = values_and_gradients(reference_of(kernel), tuple(map(doubled, arguments(given))), differentiated)
    assert found[0].dtype == torch.promote_types(dtype, torch.float32)
    assert found[0].shape == expected[0].shape
    close(found[0], expected[0], TOLERANCE[dtype])
    for gradient, wanted in zip(found[1:], expected[1:], strict=True):
        assert gradient.dtype == dtype and gradient.shape == given.logits.shape
        close(gradient, wanted, GRADIENT_TOLERANCE[dtype])


def check_target(call: Callable, name: str, given: Data) -> None:
    kernel, arguments = TARGETS[name]
    leaves = tuple(
        value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in arguments(given)
    )
    found, expected = call(*leaves), reference_of(kernel)(*map(doubled, arguments(given)))
    if isinstance(found, Tensor):
        found, expected = (found,), (expected,)
    for value, wanted in zip(found, expected, strict=True):
        assert not value.requires_grad and value.shape == wanted.shape
        if wanted.is_floating_point():
            assert value.dtype == torch.promote_types(given.logits.dtype, torch.float32)
            close(value, wanted, max(TOLERANCE[given.logits.dtype], 2e-5 if "cold" in name else 0))
        else:
            assert value.equal(wanted)
