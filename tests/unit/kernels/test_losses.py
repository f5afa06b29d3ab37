"""Losses and targets against torch's own, uncompiled: value, gradient, and what they refuse."""

import math
from collections.abc import Callable

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
from tests.support.losses import LOSSES, SHAPES, TARGETS, TYPES, Data, check_loss, check_target, data, reference_of

pytestmark = pytest.mark.kernels("fused")


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
