"""The consistency methods after their ramps, and batches for them."""

import pytest
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mean_teacher import MeanTeacher
from semisonic.algorithms.pi_model import PiModel
from semisonic.algorithms.pseudo_label import PseudoLabel
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from semisonic.algorithms.vat import VAT
from semisonic.contract import Batch
from tests.support.algorithms import batch, images, make

METHODS = [PiModel, PseudoLabel, TemporalEnsembling, MeanTeacher, VAT]

each = pytest.mark.parametrize("kind", METHODS)

FIELDS: dict = {PseudoLabel: {"threshold": 0.0}, VAT: {"entropy": 0.0}}
"""With which the unlabeled loss is the only one beside the labeled, and all samples count."""


def ready(kind: type[Algorithm], **fields: object) -> Algorithm:
    """After its ramp, with a teacher and a table that differ from the network."""
    algorithm = make(kind, **(FIELDS.get(kind, {}) | fields))
    algorithm.step.fill_(50)
    bits = torch.Generator().manual_seed(3)
    for name, value in algorithm.ema.named_buffers():
        if value.is_floating_point() and "running" not in name:
            value += 0.3 * torch.randn(value.shape, generator=bits)
    if kind is TemporalEnsembling:
        algorithm.visits.fill_(1)
        algorithm.table.copy_(0.4 * torch.rand(algorithm.table.shape, generator=bits).double().softmax(-1))
    return algorithm


def given(algorithm: Algorithm, **changes: object) -> Batch:
    names = algorithm.views(algorithm.cfg).unlabeled
    return batch(u={name: images(12, 20 + k) for k, name in enumerate(names)}, **changes)
