"""The properties that FixMatch's equations promise."""

import copy

import torch
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.supervised import Supervised
from tests.support.algorithms import batch, frozen, gradients, images, make, same


def test_fixmatch_above_every_confidence_is_supervised():
    fixmatch, supervised = frozen(make(FixMatch, threshold=1.01)), frozen(make(Supervised))
    supervised.load_state_dict(fixmatch.state_dict())
    assert same(gradients(fixmatch, batch()), gradients(supervised, batch()))


def test_fixmatch_without_threshold_and_strength_is_pseudo_label():
    algorithm = frozen(make(FixMatch, threshold=0.0))
    view = images(12, 2)
    given = batch(u={"weak": view, "strong": view})
    found = gradients(algorithm, given)
    algorithm.zero_grad()
    logits_x = algorithm.network(algorithm.normalize(given.x["weak"]))
    logits_u = algorithm.network(algorithm.normalize(view))
    (F.cross_entropy(logits_x, given.y) + F.cross_entropy(logits_u, logits_u.detach().argmax(-1))).backward()
    assert same(found, {name: p.grad for name, p in algorithm.named_parameters()})


def test_fixmatch_equals_its_equation_and_masked_samples_get_no_gradient():
    algorithm = frozen(make(FixMatch, threshold=0.3, weight=2.0))
    given = batch()
    strong = algorithm.normalize(given.u["strong"]).requires_grad_()
    q = algorithm.network(algorithm.normalize(given.u["weak"])).softmax(-1)
    threshold = q.max(-1).values.median().item()
    algorithm.cfg = algorithm.cfg.model_copy(update={"threshold": threshold})
    output = algorithm.loss(given._replace(u={"weak": given.u["weak"], "strong": strong}))
    kept = [i for i in range(12) if q[i].max() >= threshold]
    assert 0 < len(kept) < 12
    log_p = algorithm.network(strong.detach()).log_softmax(-1)
    unlabeled = -sum(log_p[i, q[i].argmax()] for i in kept) / 12  # masked samples count in the mean
    labeled = F.cross_entropy(algorithm.network(algorithm.normalize(given.x["weak"])), given.y)
    torch.testing.assert_close(output.loss, labeled + 2.0 * unlabeled)
    output.loss.backward()
    touched = strong.grad.abs().sum((1, 2, 3)) > 0
    assert [i for i in range(12) if touched[i]] == kept


def test_fixmatch_does_not_depend_on_the_order_of_the_views():
    """Interleaving would change nothing: BatchNorm sees one batch. Training mode."""
    algorithm = make(FixMatch, threshold=0.0)
    given, order = batch(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    permuted = given._replace(u={name: view[order] for name, view in given.u.items()}, u_true=given.u_true[order])
    assert same(gradients(copy.deepcopy(algorithm), given), gradients(algorithm, permuted))


def test_pseudo_labels_carry_no_gradient():
    algorithm = frozen(make(FixMatch, threshold=0.0))
    weak = algorithm.normalize(images(12, 2)).requires_grad_()
    given = batch()
    algorithm.loss(given._replace(u={"weak": weak, "strong": given.u["strong"]})).loss.backward()
    assert weak.grad is None or not weak.grad.any()


def test_labeled_images_may_be_seen_by_the_strong_policy():
    """By it alone: the same images under either name give the same step, and unlabeled views stay as they are."""
    weak, strong = (make(FixMatch, labeled_view=view, threshold=0.3) for view in ("weak", "strong"))
    views = strong.views(strong.cfg)
    assert views.labeled == {"strong": "fixmatch"} and weak.views(weak.cfg).labeled == {"weak": "weak"}
    assert views.unlabeled == weak.views(weak.cfg).unlabeled
    given = batch()
    other = given._replace(x={"strong": given.x["weak"]})
    assert same(gradients(weak, given), gradients(strong, other), 0)
    moved = given._replace(x={"strong": images(6, 9)})
    assert not same(gradients(strong, other), gradients(strong, moved))
