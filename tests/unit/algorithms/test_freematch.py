"""The properties that FreeMatch's equations promise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms import freematch
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.freematch import Averages, FreeMatch, fairness_loss, scaled
from semisonic_kernels import collectives
from tests.support.algorithms import CLASSES, batch, frozen, gradients, make, same


def logits_of(algorithm: FreeMatch, images: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(images)).detach()


def fill(algorithm: FreeMatch, tau: float, p: list[float], h: list[float]) -> FreeMatch:
    algorithm.averages_S.copy_(torch.tensor([tau, *p, *h], dtype=torch.float64))
    return algorithm


def halved(threshold: float | None = None, **fields: object) -> tuple[FreeMatch, float]:
    """FreeMatch whose averages stand still, and a confidence that half of the samples reach."""
    algorithm = frozen(make(FreeMatch, momentum=1.0, **fields))
    return algorithm, logits_of(algorithm, batch().u["weak"]).softmax(-1).max(-1).values.median().item()


def test_a_uniform_p_and_a_fixed_tau_make_it_fixmatch():
    algorithm, tau = halved(fairness=0.0)
    fill(algorithm, tau, [0.25] * 4, [0.25] * 4)
    fixmatch = frozen(make(FixMatch, threshold=tau))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    assert 0 < fixmatch.loss(batch()).metrics["coverage"] < 1
    assert same(gradients(algorithm, batch()), gradients(fixmatch, batch()))


def test_all_thresholds_begin_at_1_over_c():
    algorithm = frozen(make(FreeMatch))
    assert torch.equal(algorithm.averages_S, torch.full((9,), 0.25, dtype=torch.float64))
    still = frozen(make(FreeMatch, momentum=1.0))
    output = still.loss(batch())
    assert output.metrics["threshold"].tolist() == [0.25] * 4 and output.metrics["coverage"] == 1


def test_averages_have_the_batch_in_them_before_it_is_masked():
    algorithm = fill(frozen(make(FreeMatch, momentum=0.7)), 0.5, [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    given = batch()
    q = logits_of(algorithm, given.u["weak"]).softmax(-1)
    confidence, label = q.max(-1)
    tau = 0.7 * 0.5 + 0.3 * confidence.mean()
    p = 0.7 * torch.tensor([0.4, 0.3, 0.2, 0.1]) + 0.3 * q.mean(0)
    h = 0.7 * torch.tensor([0.1, 0.2, 0.3, 0.4]) + 0.3 * torch.bincount(label, minlength=4) / 12
    output = algorithm.loss(given)
    threshold = tau * p / p.max()
    torch.testing.assert_close(output.metrics["threshold"], threshold)
    assert output.metrics["coverage"] == (confidence >= threshold[label]).float().mean()
    assert algorithm.averages_S[0] == 0.5  # nothing is written yet
    algorithm.update(output.observed)
    torch.testing.assert_close(algorithm.averages_S, torch.cat([tau[None], p, h]))


def test_thresholds_lie_between_0_and_1_and_the_largest_is_tau():
    algorithm = frozen(make(FreeMatch, momentum=0.5))
    for seed in range(5):
        output = algorithm.loss(batch(u={name: view.roll(seed, 3) for name, view in batch().u.items()}))
        algorithm.update(output.observed)
        threshold = output.metrics["threshold"]
        assert 0 < threshold.min() < threshold.max() <= 1
        torch.testing.assert_close(threshold.max(), algorithm.averages_S[0])


def test_tau_is_at_most_the_threshold_and_0_lets_all_count():
    algorithm = fill(frozen(make(FreeMatch, threshold=0.3)), 0.9, [0.25] * 4, [0.25] * 4)
    output = algorithm.loss(batch())
    assert output.metrics["threshold"].max() == output.observed["averages"][0, 0] == 0.3
    assert frozen(make(FreeMatch, threshold=0.0)).loss(batch()).metrics["coverage"] == 1


def test_tau_may_follow_a_quantile():
    algorithm = frozen(make(FreeMatch, momentum=0.0, quantile=0.8))
    confidence = logits_of(algorithm, batch().u["weak"]).softmax(-1).max(-1).values
    expected = confidence.sort().values[8:10] @ torch.tensor([0.2, 0.8], dtype=torch.float64)  # of 12, at 8.8
    torch.testing.assert_close(algorithm.loss(batch()).observed["averages"][0, 0], expected)


def fairness_by_hand(logits: Tensor, mask: Tensor, p: Tensor, h: Tensor) -> Tensor:
    kept = logits[mask.bool()].softmax(-1)
    histogram = torch.bincount(kept.argmax(-1), minlength=CLASSES) / len(kept)
    found = torch.stack([m / n if n else m * 0 for m, n in zip(kept.mean(0), histogram, strict=True)])
    found, target = found / found.sum(), (p / h) / (p / h).sum()
    return sum(t * f.clamp(min=1e-12).log() for t, f in zip(target, found, strict=True))


def some_logits(count: int = 12) -> Tensor:
    bits = torch.Generator().manual_seed(3)
    return torch.randn(count, CLASSES, generator=bits, dtype=torch.float64).requires_grad_()


AVERAGES = Averages(
    torch.tensor(0.5), torch.tensor([0.4, 0.3, 0.2, 0.1]).double(), torch.tensor([0.5, 0.2, 0.2, 0.1]).double()
)


@pytest.mark.parametrize("classes", [CLASSES, CLASSES - 1], ids=["all classes", "a class that none is predicted as"])
def test_the_penalty_equals_its_equation_and_so_does_its_gradient(classes: int):
    logits = some_logits()
    if classes < CLASSES:
        logits = (logits.detach() - torch.tensor([0, 0, 0, 9.0])).requires_grad_()
    mask = (torch.arange(12) % 3 > 0).double()
    assert len(logits[mask.bool()].argmax(-1).unique()) == classes
    found, wanted = fairness_loss(logits, mask, AVERAGES), fairness_by_hand(logits, mask, AVERAGES.p_C, AVERAGES.h_C)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*[torch.autograd.grad(value, logits)[0] for value in (found, wanted)])


def test_a_step_down_the_penalty_takes_from_a_class_that_is_predicted_too_often():
    """Three of six samples are predicted as the first class, all with the same certainty."""
    logits = torch.eye(4)[[0, 0, 0, 1, 2, 3]].requires_grad_()
    even = torch.full((4,), 0.25)
    (gradient,) = torch.autograd.grad(fairness_loss(logits, torch.ones(6), Averages(even[0], even, even)), logits)
    before, after = (value.softmax(-1).mean(0)[0] for value in (logits, logits - 0.5 * gradient))
    assert after < before


def test_where_none_counts_the_penalty_is_0_and_gradients_are_finite():
    logits = some_logits()
    loss = fairness_loss(logits, torch.zeros(12), AVERAGES)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0 and not gradient.any()
    algorithm, _ = halved(fairness=1.0)
    fill(algorithm, 1.0, [0.25] * 4, [0.25] * 4)
    output = algorithm.loss(batch())
    assert output.metrics["coverage"] == 0 and output.metrics["loss_fairness"] == 0
    assert all(value.isfinite().all() for value in gradients(algorithm, batch()).values())


def test_ratios_by_0_are_0():
    assert scaled(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.5, 0.0, 0.1])).tolist() == pytest.approx(
        [1 / 3, 0, 2 / 3]
    )
    assert scaled(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]


def test_the_penalty_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch):
    """Of halves with different masks: not the mean of the halves' own penalties, as where means are a rank's."""
    logits, mask = some_logits(), torch.tensor([1.0] * 5 + [0.0, 1.0] + [0.0] * 5).double()
    whole = fairness_loss(logits, mask, AVERAGES)
    halves = [slice(6), slice(6, 12)]
    alone = [fairness_loss(logits[part], mask[part], AVERAGES) for part in halves]
    sums: list[Tensor] = []
    monkeypatch.setattr(collectives, "gather_with_gradient", lambda value: sums.append(value) or value)
    for part in halves:
        fairness_loss(logits[part], mask[part], AVERAGES)
    monkeypatch.setattr(freematch.collectives, "gather_with_gradient", lambda value: torch.cat(sums))
    together = fairness_loss(logits[:6], mask[:6], AVERAGES)
    torch.testing.assert_close(together, whole)
    torch.testing.assert_close(
        *[torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (together, whole)]
    )
    assert not torch.isclose(sum(alone) / 2, whole)


def test_masked_samples_and_weak_views_get_no_gradient():
    algorithm, tau = halved(fairness=0.5)
    fill(algorithm, tau, [0.25] * 4, [0.25] * 4)
    given = batch()
    weak, strong = (algorithm.normalize(given.u[name]).requires_grad_() for name in ("weak", "strong"))
    output = algorithm.loss(given._replace(u={"weak": weak, "strong": strong}))
    output.loss.backward()
    confidence = logits_of(algorithm, given.u["weak"]).softmax(-1).max(-1).values
    assert torch.equal(strong.grad.abs().sum((1, 2, 3)) > 0, confidence >= tau)
    assert weak.grad is None or not weak.grad.any()


def test_the_loss_is_the_sum_of_its_terms():
    algorithm, tau = halved(fairness=0.5, weight=2.0)
    fill(algorithm, tau, [0.25] * 4, [0.3, 0.3, 0.2, 0.2])
    given = batch()
    q, strong = (logits_of(algorithm, given.u[name]) for name in ("weak", "strong"))
    confidence, label = q.softmax(-1).max(-1)
    mask = (confidence >= tau).double()
    unlabeled = (mask * F.cross_entropy(strong, label, reduction="none")).mean()
    penalty = fairness_by_hand(
        strong, mask, torch.full((4,), 0.25).double(), torch.tensor([0.3, 0.3, 0.2, 0.2]).double()
    )
    labeled = F.cross_entropy(logits_of(algorithm, given.x["weak"]), given.y)
    torch.testing.assert_close(algorithm.loss(given).loss, labeled + 2 * unlabeled + 0.5 * penalty)
