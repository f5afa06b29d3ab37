"""The properties that SoftMatch's equations promise."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.softmatch import SoftMatch
from semisonic_kernels import collectives
from tests.support.algorithms import batch, frozen, gradients, make, same


def logits_of(algorithm: SoftMatch, images: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(images)).detach()


def given(mu: float, var: float, **fields: object) -> SoftMatch:
    """SoftMatch whose averages stand still, that of the distribution where it begins: uniform."""
    algorithm = frozen(make(SoftMatch, momentum=1.0, **fields))
    algorithm.spread_2.copy_(torch.tensor([mu, var], dtype=torch.float64))
    return algorithm


def middle(algorithm: SoftMatch) -> float:
    """A confidence that half of the samples reach."""
    return logits_of(algorithm, batch().u["weak"]).softmax(-1).max(-1).values.median().item()


def skewed(**fields: object) -> SoftMatch:
    algorithm = frozen(make(SoftMatch, **fields))
    with torch.no_grad():
        algorithm.network.head.bias[0] += 1.0
    return algorithm


def test_without_a_deviation_mu_is_a_hard_threshold_and_it_is_fixmatch():
    tau = middle(given(0.5, 1.0))
    algorithm, fixmatch = given(tau, 1e-14, width=100.0), frozen(make(FixMatch, threshold=tau))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    assert 0 < fixmatch.loss(batch()).metrics["coverage"] < 1
    assert same(gradients(algorithm, batch()), gradients(fixmatch, batch()), tolerance=1e-7)


def test_with_width_0_every_sample_counts_whole():
    algorithm, fixmatch = given(0.99, 1e-4, width=0.0), frozen(make(FixMatch, threshold=0.0))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    assert algorithm.loss(batch()).metrics["coverage"] == 1
    assert same(gradients(algorithm, batch()), gradients(fixmatch, batch()))


def test_weights_are_1_above_mu_and_fall_as_a_normal_curve_below_it():
    algorithm = given(0.8, 0.01, align=False)
    p = torch.tensor([0.95, 0.8, 0.7, 0.6], dtype=torch.float64)  # 0, 1 and 2 deviations below mu
    logits = torch.stack([p, *[(1 - p) / 3] * 3], 1).log()
    weights, _ = algorithm.weights(logits)
    torch.testing.assert_close(weights, torch.tensor([1, 1, math.exp(-2), math.exp(-8)], dtype=torch.float64))
    assert weights[2].item() == pytest.approx(0.135, abs=1e-3)


def test_a_uniform_running_mean_leaves_confidences_as_they_are():
    algorithm = given(0.5, 0.01)
    logits = logits_of(algorithm, batch().u["weak"])
    plain = given(0.5, 0.01, align=False)
    assert torch.equal(algorithm.weights(logits)[0], plain.weights(logits)[0])


def test_weights_are_of_the_aligned_q_and_labels_of_q_itself():
    algorithm, of = skewed(momentum=0.1, weight=2.0), batch()
    logits = logits_of(algorithm, of.u["weak"])
    q = logits.softmax(-1)
    running = 0.1 * 0.25 + 0.9 * q.mean(0)  # this batch is in it
    aligned = q * 0.25 / running
    confidence = (aligned / aligned.sum(-1, keepdim=True)).max(-1).values
    mu, var = 0.1 * 0.25 + 0.9 * confidence.mean(), 0.1 + 0.9 * confidence.var()
    weights = (-((confidence - mu).clamp(max=0) ** 2) / (2 * var / 4)).exp()
    assert (aligned.argmax(-1) != q.argmax(-1)).any() and (weights < 1).any()
    strong = logits_of(algorithm, of.u["strong"])
    unlabeled = (weights * F.cross_entropy(strong, q.argmax(-1), reduction="none")).mean()
    labeled = F.cross_entropy(logits_of(algorithm, of.x["weak"]), of.y)
    output = algorithm.loss(of)
    torch.testing.assert_close(output.loss, labeled + 2 * unlabeled)
    assert output.metrics["coverage"] == pytest.approx(weights.mean().item())
    assert algorithm.spread_2.tolist() == [0.25, 1]  # nothing is written yet
    algorithm.update(output.observed)
    torch.testing.assert_close(algorithm.spread_2, torch.stack([mu, var]))
    torch.testing.assert_close(algorithm.mean.average_C, running)


def test_mean_and_variance_are_those_of_all_ranks_together(monkeypatch: pytest.MonkeyPatch):
    """Not the mean of the ranks' own variances."""
    algorithm = frozen(make(SoftMatch, momentum=0.6))
    with torch.no_grad():
        algorithm.network.head.weight *= 10
    logits = logits_of(algorithm, batch().u["weak"])
    order = logits.softmax(-1).max(-1).values.argsort()
    parts = [logits[order[:6]], logits[order[6:]]]
    weights, whole = algorithm.weights(logits)
    alone = [algorithm.weights(part)[1]["spread"][0, 1] for part in parts]
    mean = logits.softmax(-1).mean(0)
    gathered: list[Tensor] = []
    monkeypatch.setattr(collectives, "mean", lambda value: mean)
    monkeypatch.setattr(collectives, "gather", lambda value: gathered.append(value) or value)
    for part in parts:
        algorithm.weights(part)
    monkeypatch.setattr(collectives, "gather", lambda value: torch.cat(gathered))
    found = [algorithm.weights(part) for part in parts]
    torch.testing.assert_close(torch.cat([part[0] for part in found]), weights[order])
    for _, observed in found:
        torch.testing.assert_close(observed, whole)
    assert not torch.isclose(sum(alone) / 2, whole["spread"][0, 1], rtol=1e-3)


def test_one_image_has_no_deviation_and_equal_ones_stay_finite():
    algorithm = frozen(make(SoftMatch, momentum=0.0))
    for count in (1, 3):
        weights, observed = algorithm.weights(torch.zeros(count, 4, dtype=torch.float64))
        assert weights.tolist() == [1.0] * count and observed["spread"].tolist() == [[0.25, 0.0]]


def test_a_class_that_is_never_guessed_leaves_weights_finite():
    algorithm = frozen(make(SoftMatch, momentum=0.0)).float()
    weights, _ = algorithm.weights(torch.tensor([[500.0, 0, 0, 0], [500.0, 1, 0, 0]]))
    assert weights.isfinite().all()


def test_weak_views_get_no_gradient():
    algorithm, of = frozen(make(SoftMatch)), batch()
    weak = algorithm.normalize(of.u["weak"]).requires_grad_()
    algorithm.loss(of._replace(u={"weak": weak, "strong": of.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


def test_it_aligns_by_itself_unless_it_is_told_not_to():
    assert SoftMatch.aligns(SoftMatch.Config()) and not SoftMatch.aligns(SoftMatch.Config(align=False))
