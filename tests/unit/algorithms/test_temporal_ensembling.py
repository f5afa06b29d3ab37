"""Temporal Ensembling: its table of past predictions, and the loss against its equation."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.temporal_ensembling import TemporalEnsembling
from tests.support.algorithms import CLASSES, frozen, make
from tests.support.consistency import given, ready


def visit(algorithm: Algorithm, index: list[int], predictions_NC: Tensor) -> None:
    algorithm.update({"index": torch.tensor(index), "prediction": predictions_NC})


def predictions(count: int, seed: int) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(count, CLASSES, generator=bits)).double().softmax(-1)


def test_temporal_ensembling_without_momentum_takes_the_last_prediction():
    algorithm = make(TemporalEnsembling, momentum=0.0)
    for seed in range(3):
        z_NC = predictions(4, seed)
        visit(algorithm, [3, 9, 0, 7], z_NC)
        target_UC, visited_U = algorithm.targets(torch.tensor([9, 3, 8]))
        assert torch.equal(target_UC, torch.stack([z_NC[1], z_NC[0], torch.zeros(CLASSES)]))
        assert visited_U.tolist() == [1, 1, 0]


def test_temporal_ensembling_corrects_the_bias_of_its_start():
    algorithm, q_NC = make(TemporalEnsembling), predictions(2, 0)
    for _ in range(6):
        visit(algorithm, [5, 11], q_NC)
        torch.testing.assert_close(algorithm.targets(torch.tensor([5, 11]))[0], q_NC, rtol=1e-13, atol=0)


def test_temporal_ensembling_counts_repetitions_in_their_order():
    """One batch with repetitions equals the same visits one after the other."""
    index = [4, 2, 4, 9, 4, 2, 0]
    one, other = make(TemporalEnsembling), make(TemporalEnsembling)
    for seed in range(3):
        z_NC = predictions(len(index), seed)
        visit(one, index, z_NC)
        for position, row in enumerate(index):
            visit(other, [row], z_NC[position : position + 1])
    torch.testing.assert_close(one.table, other.table, rtol=1e-13, atol=1e-16)
    assert torch.equal(one.visits, other.visits) and one.visits[:5].tolist() == [3, 0, 6, 0, 9]
    reverse = make(TemporalEnsembling)
    visit(reverse, index[::-1], predictions(len(index), 0).flip(0))
    first = make(TemporalEnsembling)
    visit(first, index, predictions(len(index), 0))
    assert not torch.allclose(reverse.table[4], first.table[4])  # the order matters: the last visit weighs most


def test_temporal_ensembling_equals_its_equation_and_ignores_images_never_visited():
    algorithm = frozen(make(TemporalEnsembling, weight=2.0, ramp=0.0))
    one = given(algorithm, u_index=torch.arange(12) + 10)
    z_NC = predictions(5, 4)
    visit(algorithm, [10, 11, 12, 13, 30], z_NC)
    x, u = algorithm.normalize(one.x["weak"]), algorithm.normalize(one.u["weak"]).requires_grad_()
    output = algorithm.loss(one._replace(u={"weak": u}))
    p_UC = algorithm.network(u.detach()).softmax(-1)
    unlabeled = (p_UC[:4] - z_NC[:4]).square().sum() / (12 * CLASSES)  # those never visited count in the mean
    torch.testing.assert_close(output.loss, F.cross_entropy(algorithm.network(x), one.y) + 2 * unlabeled)
    output.loss.backward()
    assert [bool(image.any()) for image in u.grad] == [True] * 4 + [False] * 8
    assert output.metrics["visited"].item() == pytest.approx(4 / 12)


def test_temporal_ensembling_learns_from_what_was_observed_only():
    algorithm = ready(TemporalEnsembling)
    one = given(algorithm)
    output = algorithm.loss(one)
    before = algorithm.table.clone()
    algorithm.update(output.observed)
    (logits_UC,) = algorithm.classify(one.x["weak"], one.u["weak"])[1:]
    expected = 0.6 * before[:12] + 0.4 * logits_UC.softmax(-1).detach()
    torch.testing.assert_close(algorithm.table[:12], expected)
    assert torch.equal(algorithm.table[12:], before[12:]) and algorithm.visits.tolist() == [2] * 12 + [1] * 28
