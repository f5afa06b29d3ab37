"""Losses and targets against torch's own: value, gradient, determinism, and what they refuse."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from semisonic_kernels import losses
from semisonic_kernels.fuse import use_kernels
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
from tests.support.devices import DEVICES

pytestmark = pytest.mark.kernels("fused")

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


# The mathematics, uncompiled.


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_torchs(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    kernel = LOSSES[name][0]
    check_loss(kernel.__wrapped__, name, data(shape, dtype))
    check_loss(reference_of(kernel), name, data(shape, dtype))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", TARGETS)
def test_targets_equal_torchs(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    check_target(TARGETS[name][0].__wrapped__, name, data(shape, dtype))


@pytest.mark.parametrize("layout", ["transposed", "strided"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layouts(layout: str, dtype: torch.dtype) -> None:
    given = data((10, 7), dtype, layout)
    assert not given.logits.is_contiguous()
    for name, (kernel, *_) in LOSSES.items():
        check_loss(kernel.__wrapped__, name, given)
    for name, (kernel, _) in TARGETS.items():
        check_target(kernel.__wrapped__, name, given)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    kernel, arguments, differentiated = LOSSES[name]
    given = list(arguments(data((4, 3), torch.float64)))
    for position in differentiated:
        given[position] = given[position].requires_grad_()
    assert torch.autograd.gradcheck(kernel.__wrapped__, tuple(given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_logits_stay_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor([[3e4, -3e4, 0.0], [-3e4, -3e4, 3e4]], dtype=dtype, requires_grad=True)
    q = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    values = [
        consistency_loss.__wrapped__(logits, torch.tensor([1, 0])),
        consistency_loss.__wrapped__(logits, q),
        kl_divergence.__wrapped__(logits, -logits).mean(),
        probability_mse.__wrapped__(logits, q),
    ]
    for value in values:
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite() and gradient.isfinite().all()


def test_samples_of_weight_zero_count_in_the_mean_and_get_no_gradient() -> None:
    logits = data((4, 3)).logits.requires_grad_()
    labels, mask = torch.tensor([0, 1, 2, 0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    loss = consistency_loss.__wrapped__(logits, labels, mask)
    log_p = logits.log_softmax(-1)
    torch.testing.assert_close(loss, -(log_p[0, 0] + log_p[2, 2]) / 4)
    loss.backward()
    assert logits.grad.any(-1).tolist() == [True, False, True, False]


def shrunk_by_a_loop(logits_NC: Tensor, targets_NC: Tensor, threshold: float) -> tuple[Tensor, list[list[int]]]:
    """Sample by sample and class by class; also the classes that are left out."""
    losses_N, left_out = [], []
    for logits_C, q_C in zip(logits_NC, targets_NC, strict=True):
        order = sorted(range(len(q_C)), key=lambda c, q_C=q_C: -q_C[c].item())
        first, losses_N = order[0], [*losses_N, 0 * logits_C.sum()]
        left_out.append(order[1:])
        for c in range(2, len(order)):
            if q_C[first] / (q_C[first] + q_C[order[c:]].sum()) >= threshold:
                kept = logits_C[[first, *order[c:]]]
                losses_N[-1] = q_C[first] * (kept.logsumexp(0) - kept[0])
                left_out[-1] = order[1:c]
                break
    return torch.stack(losses_N), left_out


@pytest.mark.parametrize("call", [shrunk_cross_entropy.__wrapped__, losses.shrunk_cross_entropy_reference])
@pytest.mark.parametrize("classes", [3, 4, 10, 100])
def test_fewer_classes_equal_a_loop_over_samples_and_classes(call: Callable, classes: int) -> None:
    """ShrinkMatch, (c): classes that are left out get no gradient."""
    given, reached = data((64, classes), torch.float64), 0
    for threshold in (0.5, 0.8, 0.95):
        logits = (given.logits / 4).requires_grad_()
        found = call(logits, given.probabilities, threshold)
        expected, left_out = shrunk_by_a_loop(logits, given.probabilities, threshold)
        assert (found - expected).abs().max() < 1e-15
        reached += int((found > 0).sum())
        gradients = [torch.autograd.grad(value.sum(), logits)[0] for value in (found, expected)]
        assert (gradients[0] - gradients[1]).abs().max() < 1e-15
        assert not any(gradients[0][i, classes].any() for i, classes in enumerate(left_out))
    assert 64 < reached <= 192


def test_fewer_classes_of_known_samples() -> None:
    q, logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]), torch.zeros(1, 4)
    for threshold, expected in ((0.7, 0.5 * math.log(3)), (0.9, 0.5 * math.log(2)), (0.95, 0.0)):
        assert shrunk_cross_entropy.__wrapped__(logits, q, threshold).item() == pytest.approx(expected, abs=1e-7)
    for threshold in (0.0, 0.5, 0.99):  # of two classes none can be left out
        assert shrunk_cross_entropy.__wrapped__(logits[:, :2], q[:, :2], threshold).item() == 0
        assert shrunk_cross_entropy.__wrapped__(logits[:, :1], q[:, :1], threshold).item() == 0


def test_thresholds_by_class_are_those_of_the_label() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.4, 0.6]]).log()
    found = pseudo_labels.__wrapped__(logits, torch.tensor([0.5, 0.65]))
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.mask.tolist() == [1, 1, 1, 0]
    torch.testing.assert_close(found.confidence, torch.tensor([0.9, 0.6, 0.7, 0.6]))
    by_sample = pseudo_labels.__wrapped__(logits, torch.tensor([[0.95], [0.5], [0.5], [0.65]]))
    assert by_sample.mask.tolist() == [0, 1, 1, 0]
    assert pseudo_labels.__wrapped__(logits, 0.65, temperature=0.5).mask.tolist() == [1, 1, 1, 1]


def test_soft_labels_of_low_temperature_are_the_hard_ones() -> None:
    given = data((16, 5))
    labels = pseudo_labels.__wrapped__(given.other).labels
    cold = soft_labels.__wrapped__(given.other, 1e-4)
    hard, soft = consistency_loss.__wrapped__(given.logits, labels), consistency_loss.__wrapped__(given.logits, cold)
    torch.testing.assert_close(hard, soft)


def test_sharpening_takes_classes_without_probability() -> None:
    found = sharpen.__wrapped__(torch.tensor([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0]]), 0.5)
    torch.testing.assert_close(found, torch.tensor([[16 / 17, 1 / 17, 0.0], [0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("call", [sharpen.__wrapped__, losses.sharpen_reference], ids=["kernel", "reference"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_sharpening_at_a_low_temperature_gives_hard_labels(dtype: torch.dtype, call: Callable) -> None:
    """Also where every power of a row is smaller than any number: 0.5 ** 10,000 in float64."""
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.25, 0.0], [0.25, 0.5, 0.5]], dtype=dtype)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    for temperature in (1e-3, 1e-4, torch.tensor(1e-3)):
        torch.testing.assert_close(call(probabilities, temperature), expected, rtol=0, atol=1e-200, check_dtype=False)


def test_sharpening_equals_its_formula_where_that_can_be_computed() -> None:
    probabilities = data((64, 10), torch.float64).probabilities
    for temperature in (0.3, 0.5, 1.0, 2.0):
        powers = probabilities ** (1 / temperature)
        found = losses.sharpen_reference(probabilities, temperature)
        torch.testing.assert_close(found, powers / powers.sum(-1, keepdim=True), rtol=1e-12, atol=0)


def test_one_hot() -> None:
    labels = torch.tensor([2, 0, 1, 2])
    assert losses.one_hot(labels, 4).dtype == torch.bool
    assert losses.one_hot(labels, 4).long().equal(torch.nn.functional.one_hot(labels, 4))


def test_no_samples() -> None:
    given = data((0, 5))
    for name, (kernel, arguments, _) in LOSSES.items():
        found, expected = kernel(*arguments(given)), reference_of(kernel)(*arguments(given))
        torch.testing.assert_close(found, expected, equal_nan=True, msg=name)
    for kernel, arguments in TARGETS.values():
        torch.testing.assert_close(tuple(kernel(*arguments(given))), tuple(reference_of(kernel)(*arguments(given))))


def test_gradient_in_a_functional_transform() -> None:
    """Where torch.compile refuses."""
    given = data((6, 4), torch.float64)
    found = torch.func.grad(lambda logits: consistency_loss(logits, given.labels, given.weights))(given.logits)
    logits = given.logits.requires_grad_()
    consistency_loss.__wrapped__(logits, given.labels, given.weights).backward()
    torch.testing.assert_close(found, logits.grad)


# What they refuse. All checks come before anything is compiled.

BAD: list[tuple[Callable[[Data], object], str]] = [
    (lambda d: consistency_loss(d.logits[0], d.labels), r"logits must be floating \[N, C\]"),
    (lambda d: consistency_loss(d.logits.long(), d.labels), r"logits must be .* not torch.int64 \[6, 4\]"),
    (lambda d: consistency_loss(d.logits[:, :0], d.labels), r"with C >= 1"),
    (lambda d: consistency_loss(d.logits, d.labels[:5]), r"int64 \[6\], or probabilities, floating \[6, 4\], not"),
    (lambda d: consistency_loss(d.logits, d.labels.int()), r"not torch.int32 \[6\]"),
    (lambda d: consistency_loss(d.logits, d.probabilities.t()), r"not torch.float32 \[4, 6\]"),
    (lambda d: consistency_loss(d.logits, d.labels, d.thresholds), r"weights must be real \[6\], not"),
    (lambda d: soft_cross_entropy(d.logits, d.labels), r"targets must be floating \[6, 4\]"),
    (lambda d: shrunk_cross_entropy(d.logits, d.labels, 0.9), r"targets must be floating \[6, 4\]"),
    (lambda d: kl_divergence(d.logits, d.other[:3]), r"second logits must be floating \[6, 4\]"),
    (lambda d: probability_mse(d.logits, d.probabilities[:, :2]), r"targets must be floating \[6, 4\]"),
    (lambda d: pseudo_labels(d.logits, d.weights), r"0-d, \[4\] by class, \[6, 1\] by sample or \[6, 4\], not"),
    (lambda d: pseudo_labels(d.logits, d.labels[0]), r"threshold must be"),
    (lambda d: pseudo_labels(d.logits, 0.9, 0.0), r"temperature must be positive, not 0.0"),
    (lambda d: soft_labels(d.logits, d.thresholds), r"temperature must be a number or 0-d floating"),
    (lambda d: sharpen(d.probabilities[0], 0.5), r"probabilities must be floating \[N, C\]"),
    (lambda d: sharpen(d.probabilities, float("nan")), r"temperature must be positive"),
]


@pytest.mark.parametrize("position", range(len(BAD)))
def test_refuses(position: int) -> None:
    call, message = BAD[position]
    with pytest.raises(ValueError, match=message):
        call(data((6, 4)))
    with use_kernels("reference"), pytest.raises(ValueError, match=message):
        call(data((6, 4)))


# Compiled: all kernels in one graph, and a kernel by itself.


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
