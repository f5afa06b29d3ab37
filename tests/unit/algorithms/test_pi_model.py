"""Pi-Model: equal views have no loss, the target no gradient, and the loss equals its equation."""

import pytest
import torch
from torch.nn import functional as F

from semisonic.algorithms.pi_model import PiModel
from tests.support.algorithms import CLASSES, batch, frozen, gradients, images, make, same
from tests.support.consistency import given, ready


def test_pi_equal_views_give_no_loss_and_no_gradient():
    algorithm, view = ready(PiModel), images(12, 2)  # in training mode: both views share their statistics
    one = batch(u={"first": view, "second": view})
    assert algorithm.loss(one).metrics["loss_unlabeled"] == 0
    zero = make(PiModel, weight=0.0)
    assert same(gradients(algorithm, one), gradients(zero, one), tolerance=1e-15)


@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_pi_the_target_carries_no_gradient(statistics: str):
    algorithm = frozen(ready(PiModel, statistics=statistics))
    views = {name: algorithm.normalize(images(12, k)).requires_grad_() for k, name in enumerate(("first", "second"))}
    algorithm.loss(batch(u=views)).loss.backward()
    assert views["first"].grad is None or not views["first"].grad.any()
    assert views["second"].grad.any()


def test_pi_equals_its_equation():
    algorithm = frozen(ready(PiModel, weight=3.0))
    one = given(algorithm)
    x, first, second = (algorithm.network(algorithm.normalize(v)) for v in (one.x["weak"], *one.u.values()))
    unlabeled = (first.softmax(-1) - second.softmax(-1)).square().sum() / (12 * CLASSES)
    torch.testing.assert_close(algorithm.loss(one).loss, F.cross_entropy(x, one.y) + 3 * unlabeled)
