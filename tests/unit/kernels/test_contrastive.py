"""NT-Xent and CoMatch's graphs: the papers' formulas, their limits, the shares of ranks; what they and turns refuse."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic_kernels.contrastive import (
    contrastive_loss,
    graph_loss,
    graph_xent,
    graph_xent_reference,
    label_graph,
    nt_xent,
    nt_xent_reference,
)
from semisonic_kernels.rotate import rotate, rotate_reference, rotations
from tests.support.algorithms import images
from tests.support.pretext import xent_by_hand


@pytest.mark.slow
@pytest.mark.kernels("fused")
def test_compiled_kernels_equal_their_references():
    pixels, turns = images(5, 1), torch.tensor([0, 1, 2, 3, 1])
    one, two = (views(8).requires_grad_() for _ in range(2))
    assert torch.equal(rotate(pixels, turns), rotate_reference(pixels, turns))
    losses = [call(given, given, 0, 0.3) for call, given in ((nt_xent, one), (nt_xent_reference, two))]
    torch.testing.assert_close(*losses)
    sum(losses).backward()
    torch.testing.assert_close(one.grad, two.grad)
    pairs = [(views(4).requires_grad_(), views(8, seed=1).requires_grad_()) for _ in range(2)]
    losses = [
        call(*pair, edges(4, 8), 0.3) for call, pair in zip((graph_xent, graph_xent_reference), pairs, strict=True)
    ]
    torch.testing.assert_close(*losses)
    sum(losses).backward()
    for fused, reference in zip(*pairs, strict=True):
        torch.testing.assert_close(fused.grad, reference.grad)


def test_kernels_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="must be square"):
        rotate(torch.rand(2, 3, 4, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"turns must be int64 \[2\]"):
        rotate(torch.rand(2, 3, 4, 4), torch.zeros(2))
    with pytest.raises(ValueError, match="must be square"):
        rotations(torch.rand(3, 4, 4))
    unit = views(4)
    for wrong, message in (
        ((unit[:3], unit), r"floating \[2 N, D\]"),
        ((unit, unit[:, :2]), "the pool must be"),
        ((unit, unit, 1), "start 1 leaves no 4 views"),
        ((unit, unit, 0, 0.0), "temperature must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            nt_xent(*wrong)
    for wrong, message in (
        ((unit, unit[:, :2], edges(4, 4)), "views must be floating"),
        ((unit, unit, edges(4, 3)), r"edges must be floating \[4, 4\]"),
        ((unit, unit, edges(4, 4), 0.0), "temperature must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            graph_xent(*wrong)


def views(count: int, width: int = 5, seed: int = 0) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, dtype=torch.float64, generator=bits), dim=1)


def edges(rows: int, columns: int) -> Tensor:
    """Some of them 0."""
    drawn = torch.rand(rows, columns, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.where(drawn < 0.4, 0.0, drawn) + torch.eye(rows, columns)


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_nt_xent_is_the_paper_s_formula(call):
    one, two = (views(10).requires_grad_() for _ in range(2))
    loss, expected = call(one, one, 0, 0.2), xent_by_hand(two, 0.2)
    torch.testing.assert_close(loss, expected)
    loss.backward(), expected.backward()
    torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_nt_xent_of_equal_views_and_orthogonal_negatives(call):
    eye = torch.eye(6, dtype=torch.float64)
    for temperature in (0.1, 0.5, 2.0):
        expected = math.log(1 + (2 * 6 - 2) * math.exp(-1 / temperature))
        assert call(torch.cat([eye, eye]), torch.cat([eye, eye]), 0, temperature).item() == pytest.approx(expected)


def test_nt_xent_does_not_depend_on_the_order_of_the_views():
    first, second = views(6, seed=1), views(6, seed=2)
    torch.testing.assert_close(contrastive_loss(3 * first, second), contrastive_loss(second, first))


@pytest.mark.parametrize("call", [nt_xent.__wrapped__, nt_xent_reference])
def test_the_ranks_shares_add_up_to_the_whole(call):
    """Two ranks, each with both views of its samples, against one; value, and gradient as summed by the gather."""
    whole = views(12)
    alone, shared = (whole.clone().requires_grad_() for _ in range(2))
    call(alone, alone, 0, 0.4).backward()
    order = torch.tensor([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])  # rank 0's samples are 0..2
    pool = shared[order]
    losses = [call(pool[6 * rank : 6 * rank + 6], pool, 6 * rank, 0.4) for rank in range(2)]
    torch.testing.assert_close(sum(losses) / 2, call(alone, alone, 0, 0.4))
    (sum(losses) / 2).backward()
    torch.testing.assert_close(shared.grad, alone.grad)


@pytest.mark.parametrize("call", [graph_xent.__wrapped__, graph_xent_reference])
def test_graph_xent_is_the_paper_s_formula(call):
    pairs = [(views(4).requires_grad_(), views(6, seed=1).requires_grad_()) for _ in range(2)]
    loss = call(*pairs[0], edges(4, 6), 0.3)
    first, second = pairs[1]
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        weights = edges(4, 6)[i] / edges(4, 6)[i].sum()
        scores = torch.stack([(first[i] @ second[j] / 0.3).exp() for j in range(6)])
        expected = expected - sum(weights[j] * (scores[j] / scores.sum()).log() for j in range(6)) / 4
    torch.testing.assert_close(loss, expected)
    loss.backward(), expected.backward()
    for one, two in zip(*pairs, strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_graphs_of_labels_have_a_loop_at_every_sample_and_no_weak_edges():
    labels = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(label_graph(labels, labels, 0, 0.8), expected)
    torch.testing.assert_close(label_graph(labels[2:], labels, 2, 0.8), expected[2:])


def test_of_orthogonal_labels_the_graph_s_loss_is_info_nce():
    """CoMatch (b): the graph is the identity."""
    labels, first, second = torch.eye(5, dtype=torch.float64), views(5), views(5, seed=1)
    assert torch.equal(label_graph(labels, labels, 0, 0.8), labels)
    expected = F.cross_entropy(first @ second.T / 0.2, torch.arange(5))
    torch.testing.assert_close(graph_loss(first, second, labels), expected)


def test_the_ranks_shares_of_a_graph_add_up_to_the_whole():
    """Two ranks against one; value, and gradient as summed by the gather."""
    labels = (4 * views(6, 3, seed=2)).softmax(-1)
    (first, second), (alone_first, alone_second) = ([views(6, seed=k).requires_grad_() for k in range(2)] for _ in "ab")
    whole = graph_loss(alone_first, alone_second, labels, 0.2, 0.5)
    whole.backward()
    halves = [
        graph_xent(first[rank : rank + 3], second, label_graph(labels[rank : rank + 3], labels, rank, 0.5), 0.2)
        for rank in (0, 3)
    ]
    torch.testing.assert_close(sum(halves) / 2, whole)
    (sum(halves) / 2).backward()
    torch.testing.assert_close(first.grad, alone_first.grad)
    torch.testing.assert_close(second.grad, alone_second.grad)
