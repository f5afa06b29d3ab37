"""The properties that DeFixMatch's equations promise."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.alignment import alignment
from semisonic.algorithms.defixmatch import DeFixMatch
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.contract import Batch
from tests.support.addons import composed
from tests.support.algorithms import batch, frozen, gradients, images, make, same

VIEWS = {"weak": images(6, 1), "strong": images(6, 4)}
"""Of the labeled images."""


def given(**changes: object) -> Batch:
    return batch(**{"x": VIEWS, **changes})


def logits_of(algorithm: DeFixMatch, view: Tensor) -> Tensor:
    return algorithm.network(algorithm.normalize(view))


def deciding(**fields: object) -> DeFixMatch:
    """With a threshold that some labeled and some unlabeled images reach, and others do not."""
    algorithm = frozen(make(DeFixMatch, **fields))
    confidence = [logits_of(algorithm, view).softmax(-1).amax(-1) for view in (VIEWS["weak"], batch().u["weak"])]
    threshold = torch.cat(confidence).median().item()
    assert all(0 < (part >= threshold).sum() < len(part) for part in confidence)
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    return algorithm


def fixmatch_term(algorithm: DeFixMatch, weak: Tensor, strong: Tensor) -> Tensor:
    """FixMatch's unlabeled loss, sample by sample."""
    q, log_p = logits_of(algorithm, weak).softmax(-1).detach(), logits_of(algorithm, strong).log_softmax(-1)
    kept = [i for i in range(len(q)) if q[i].max() >= algorithm.cfg.threshold]
    return -sum(log_p[i, q[i].argmax()] for i in kept) / len(q)


def test_it_equals_its_equation():
    algorithm, of = deciding(weight=0.7), given()
    labeled = sum(F.cross_entropy(logits_of(algorithm, view), of.y) for view in VIEWS.values()) / 2
    bracket = fixmatch_term(algorithm, **of.u) - fixmatch_term(algorithm, **VIEWS)
    expected = labeled + 0.7 * bracket
    torch.testing.assert_close(algorithm.loss(of).loss, expected)
    found = gradients(algorithm, of)
    algorithm.zero_grad()
    expected.backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_a_labeled_images_in_the_unlabeled_one_s_place_leave_nothing():
    """(a) The bracket is exactly 0, also where the images train it."""
    algorithm = deciding()
    of = given(u=VIEWS, u_index=torch.arange(6), u_true=torch.arange(6) % 4)
    output, without = algorithm.loss(of), frozen(make(DeFixMatch, weight=0.0))
    assert 0 < output.metrics["coverage"] < 1
    assert torch.equal(output.metrics["loss_unlabeled"], output.metrics["loss_subtracted"])
    assert same(gradients(algorithm, of), gradients(without, of))


def test_b_over_all_splits_of_a_pool_the_bracket_is_zero_in_the_mean():
    """(b) Of every choice of 2 of 6 images as labeled ones, the other 4 unlabeled."""
    algorithm, terms = deciding(), []
    for chosen in itertools.combinations(range(6), 2):
        own, others = list(chosen), [i for i in range(6) if i not in chosen]
        of = given(
            x={name: view[own] for name, view in VIEWS.items()}, y=torch.zeros(2, dtype=torch.int64),
            u={name: view[others] for name, view in VIEWS.items()}, u_true=torch.zeros(4, dtype=torch.int64),
        )  # fmt: skip
        metrics = algorithm.loss(of).metrics
        terms.append((metrics["loss_unlabeled"] - metrics["loss_subtracted"]).item())
    assert min(terms) < -0.01 < 0.01 < max(terms)
    assert sum(terms) / len(terms) == pytest.approx(0, abs=1e-12)


def test_c_without_a_weight_it_is_supervised_on_two_views():
    """(c)"""
    algorithm, of = deciding(weight=0.0), given()
    found = gradients(algorithm, of)
    algorithm.zero_grad()
    (sum(F.cross_entropy(logits_of(algorithm, view), of.y) for view in VIEWS.values()) / 2).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_the_subtracted_term_looks_at_no_label():
    algorithm, of = deciding(), given()
    other = algorithm.loss(of._replace(y=(of.y + 1) % 4)).metrics
    assert torch.equal(algorithm.loss(of).metrics["loss_subtracted"], other["loss_subtracted"])


def test_the_loss_can_be_negative():
    algorithm, of = deciding(weight=1e6), given()
    swapped = given(x=of.u, y=torch.arange(12) % 4, u=VIEWS, u_true=torch.arange(6) % 4)
    losses = [algorithm.loss(one).loss for one in (of, swapped)]
    assert min(losses) < 0 < max(losses)


def test_its_unlabeled_loss_is_fixmatch_s():
    algorithm = deciding()
    fixmatch = frozen(make(FixMatch, threshold=algorithm.cfg.threshold))
    fixmatch.load_state_dict(algorithm.state_dict())
    one, two = algorithm.loss(given()).metrics, fixmatch.loss(batch()).metrics
    for name in ("loss_unlabeled", "coverage", "pseudo_label_correct"):
        torch.testing.assert_close(one[name], two[name])


@pytest.mark.parametrize("weak_pass", ["joint", "separate"])
def test_aligned_guesses_are_one_function_of_an_image_in_both_terms(weak_pass: str):
    """By the unlabeled images' mean prediction, in a step's first batch their own."""
    fields = {"threshold": 0.0, "weak_pass": weak_pass}
    algorithm, of = frozen(composed(DeFixMatch, fields, prior={"kind": "align", "window": 3})), given()
    algorithm.network.head.weight.data *= 20  # tells images apart
    target_C = algorithm.addons["prior"].target_C
    means = [logits_of(algorithm, view).softmax(-1).mean(0).detach() for view in (of.u["weak"], VIEWS["weak"])]
    labels = [(logits_of(algorithm, VIEWS["weak"]) + alignment(target_C, mean)).argmax(-1) for mean in means]
    assert not torch.equal(*labels)  # by the labeled images' mean they would be others
    found = algorithm.loss(of).metrics["loss_subtracted"]
    torch.testing.assert_close(found, F.cross_entropy(logits_of(algorithm, VIEWS["strong"]), labels[0]).detach())
