"""The properties that ReFixMatch's equations promise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.algorithms.refixmatch import ReFixMatch
from tests.support.algorithms import batch, frozen, gradients, make, same


def logits_of(algorithm: ReFixMatch, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def deciding(**fields: object) -> ReFixMatch:
    """With a threshold that half of the unlabeled images reach."""
    algorithm = frozen(make(ReFixMatch, **fields))
    threshold = logits_of(algorithm, batch().u["weak"]).softmax(-1).amax(-1).median().item()
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    return algorithm


def by_hand(algorithm: ReFixMatch, threshold_U: Tensor, soft: str = "kl") -> Tensor:
    """The whole loss, sample by sample."""
    of, cfg = batch(), algorithm.cfg
    weak = logits_of(algorithm, of.u["weak"]).detach()
    log_p = logits_of(algorithm, of.u["strong"]).log_softmax(-1)
    terms = []
    for i, q in enumerate(weak.softmax(-1)):
        sharp = (weak[i] / cfg.temperature).softmax(-1)
        entropy = (sharp * sharp.log()).sum() if soft == "kl" else 0.0
        hard = q.max() >= threshold_U[i]
        terms.append(-log_p[i, q.argmax()] if hard else entropy - (sharp * log_p[i]).sum())
    labeled = F.cross_entropy(logits_of(algorithm, of.x["weak"]), of.y)
    return labeled + cfg.weight * torch.stack(terms).mean()


@pytest.mark.parametrize("soft", ["kl", "cross-entropy"])
def test_it_equals_its_equation_and_kl_and_cross_entropy_have_one_gradient(soft: str):
    """(c); X23: soft labels are of what is below the threshold, with their temperature."""
    algorithm = deciding(temperature=0.3, weight=2.0)
    expected = by_hand(algorithm, torch.full((12,), algorithm.cfg.threshold), soft)
    output = algorithm.loss(batch())
    assert 0 < output.metrics["coverage"] < 1
    if soft == "kl":
        torch.testing.assert_close(output.loss, expected)
    found = gradients(algorithm, batch())
    algorithm.zero_grad()
    expected.backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_a_without_a_threshold_it_is_fixmatch():
    """(a), and equal to FixMatch at its threshold 0."""
    algorithm, fixmatch = frozen(make(ReFixMatch, threshold=0.0)), frozen(make(FixMatch, threshold=0.0))
    fixmatch.load_state_dict(algorithm.state_dict(), strict=False)
    assert algorithm.loss(batch()).metrics["loss_soft"] == 0
    assert same(gradients(algorithm, batch()), gradients(fixmatch, batch()))


def test_a_above_every_confidence_all_labels_are_soft():
    """(a)"""
    algorithm = frozen(make(ReFixMatch, threshold=1.01))
    torch.testing.assert_close(algorithm.loss(batch()).loss, by_hand(algorithm, torch.full((12,), 2.0)))


def test_b_every_sample_is_in_one_of_the_terms():
    """(b) Whatever its confidence, one image alone is in the loss by one term."""
    algorithm = deciding()
    reached = []
    for i in range(12):
        of = batch(u={name: view[i : i + 1] for name, view in batch().u.items()}, u_true=torch.zeros(1).long())
        metrics = algorithm.loss(of._replace(u_index=torch.tensor([i]))).metrics
        soft, hard = metrics["loss_soft"], metrics["loss_unlabeled"] - metrics["loss_soft"]
        assert (soft == 0) != (hard == 0)
        reached.append(bool(hard))
    assert 0 < sum(reached) < 12


def test_the_temperature_is_of_the_soft_labels():
    """X23: it changes the soft term, and neither the mask nor the other term."""
    warm, cold = deciding(temperature=1.0).loss(batch()).metrics, deciding(temperature=0.2).loss(batch()).metrics
    assert warm["coverage"] == cold["coverage"] and not torch.isclose(warm["loss_soft"], cold["loss_soft"])
    hard = [one["loss_unlabeled"] - one["loss_soft"] for one in (warm, cold)]
    torch.testing.assert_close(*hard)


def test_by_flexmatch_s_table_it_has_flexmatch_s_thresholds():
    algorithm = deciding(thresholds="flexmatch", warm_up=False)
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": 3 * algorithm.cfg.threshold})
    flexmatch = frozen(make(FlexMatch, threshold=algorithm.cfg.threshold, warm_up=False))
    common = logits_of(algorithm, batch().u["weak"]).argmax(-1).mode().values
    algorithm.learned[:20] = (common + 1) % 4
    algorithm.learned[20:30] = common  # half as many: a third of the threshold
    flexmatch.load_state_dict(algorithm.state_dict())
    assert torch.equal(algorithm.thresholds(), flexmatch.thresholds())
    output, expected = algorithm.loss(batch()), flexmatch.loss(batch())
    assert 0 < output.metrics["coverage"] == expected.metrics["coverage"] < 1
    label_U = logits_of(algorithm, batch().u["weak"]).argmax(-1)
    torch.testing.assert_close(output.loss, by_hand(algorithm, algorithm.thresholds()[label_U]))
    for one, observed in ((algorithm, output.observed), (flexmatch, expected.observed)):
        one.update(observed)
    assert torch.equal(algorithm.learned, flexmatch.learned)


def test_fixed_thresholds_look_at_no_table():
    algorithm = deciding()
    before = algorithm.loss(batch()).loss
    algorithm.learned[:] = 1
    assert torch.equal(algorithm.loss(batch()).loss, before)


def test_soft_labels_carry_no_gradient():
    algorithm, of = frozen(make(ReFixMatch, threshold=1.01)), batch()
    weak = algorithm.normalize(of.u["weak"]).requires_grad_()
    algorithm.loss(of._replace(u={"weak": weak, "strong": of.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()
