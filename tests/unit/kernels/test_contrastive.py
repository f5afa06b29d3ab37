"""NT-Xent: the paper's formula, its limits, the shares of ranks, and what it and quarter turns refuse."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic_kernels.contrastive import contrastive_loss, nt_xent, nt_xent_reference
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


def views(count: int, width: int = 5, seed: int = 0) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, dtype=torch.float64, generator=bits), dim=1)


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
