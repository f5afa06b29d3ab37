"""Ramps: the unlabeled loss begins at 0 and rises as the papers say."""

import pytest
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.algorithms.pi_model import PiModel
from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.supervised import Supervised
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from semisonic.algorithms.vat import VAT
from tests.support.algorithms import batch, frozen, gradients, make, same
from tests.support.consistency import FIELDS, each, given, ready

LINEAR = [PiModel, PseudoLabel, MeanTeacher, VAT]
"""Those whose ramp starts at 0."""


@pytest.mark.parametrize("kind", LINEAR)
def test_the_first_step_is_supervised(kind: type[Algorithm]):
    fields = FIELDS.get(kind, {})
    for statistics, prepare in (("all", frozen), ("labeled", lambda algorithm: algorithm)):
        algorithm = prepare(make(kind, statistics=statistics, **fields))
        supervised = prepare(make(Supervised))
        found = gradients(algorithm, given(algorithm))
        assert same(found, gradients(supervised, batch()))


@each
@pytest.mark.parametrize("ramp", [0.2, 20.0])
def test_the_ramp(kind: type[Algorithm], ramp: float):
    """The unlabeled loss's share of the loss grows as the paper says, over so many steps or that share of the 100."""
    algorithm = frozen(ready(kind, ramp=ramp))
    expected = {0: 0.0, 10: 0.5, 20: 1.0, 90: 1.0}
    if kind is TemporalEnsembling:
        expected = {step: float(torch.tensor(-5 * (1 - share) ** 2).exp()) for step, share in expected.items()}
    for step, factor in expected.items():
        algorithm.step.fill_(step)
        output = algorithm.loss(given(algorithm))
        share = (output.loss - output.metrics["loss_labeled"]) / output.metrics["loss_unlabeled"]
        assert share.item() == pytest.approx(algorithm.cfg.weight * factor, rel=1e-6, abs=1e-12), step
    without = frozen(ready(kind, ramp=0.0))
    without.step.fill_(0)
    output = without.loss(given(without))
    share = (output.loss - output.metrics["loss_labeled"]) / output.metrics["loss_unlabeled"]
    assert share.item() == pytest.approx(without.cfg.weight)
