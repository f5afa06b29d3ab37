"""Queues keep exactly the newest rows; banks keep unit vectors, whatever comes twice."""

import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.banks import Bank, Queue


def unit(count: int, seed: int = 0, width: int = 4) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=bits, dtype=torch.float64), dim=1)


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [5, 1, 9, 2], [10], [11], [25, 3], [0, 4, 0, 7]])
def test_a_queue_keeps_exactly_the_newest_rows(sizes: list[int]):
    """CoMatch (c): pushes of the same, of different and of too many rows; both tables stay in step."""
    queue, pushed = Queue(10, z=2, p=1), 0
    for size in sizes:
        rows = torch.arange(pushed, pushed + size, dtype=torch.float32)[:, None]
        queue.push(z=rows.expand(-1, 2) + 1, p=rows + 1)
        pushed += size
        newest = list(range(max(0, pushed - 10) + 1, pushed + 1))
        assert sorted(queue.table("p")[:, 0].tolist()) == [0.0] * (10 - len(newest)) + newest
        assert torch.equal(queue.table("z"), queue.table("p").expand(-1, 2))
        assert queue.full() == (pushed >= 10)


def test_a_queue_that_was_saved_goes_on():
    rows = torch.rand(7, 3)
    one, other = Queue(5, z=3), Queue(5, z=3)
    one.push(z=rows[:4])
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.push(z=rows[4:])
    assert torch.equal(one.table("z"), other.table("z")) and other.pushed == 7


def test_a_bank_s_rows_are_unit_vectors_after_a_hundred_visits():
    """SimMatch (b), X6: normalized over the dimensions of the embedding, not over the batch."""
    bank, draw = Bank(9, 4), random.Random(0)
    for step in range(100):
        index = torch.tensor([draw.randrange(8) for _ in range(6)])
        bank.visit(index, unit(6, step), index % 3, 0.7)
    torch.testing.assert_close(bank.vectors.norm(dim=1), torch.tensor([1.0] * 8 + [0.0]))
    assert bank.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, -1]


def test_a_visit_mixes_the_mean_of_what_came_twice_with_the_past():
    bank = Bank(5, 4).double()
    old = unit(5, 1)
    bank.vectors.copy_(old)
    z, index = unit(4, 2), torch.tensor([3, 1, 3, 3])
    bank.visit(index, z, torch.tensor([2, 0, 2, 2]), 0.7)
    twice, once = 0.7 * old[3] + 0.3 * (z[0] + z[2] + z[3]) / 3, 0.7 * old[1] + 0.3 * z[1]
    torch.testing.assert_close(bank.vectors[3], twice / twice.norm())
    torch.testing.assert_close(bank.vectors[1], once / once.norm())
    assert torch.equal(bank.vectors[[0, 2, 4]], old[[0, 2, 4]])
    assert bank.labels.tolist() == [-1, 0, -1, 2, -1]


def test_the_order_of_what_came_twice_does_not_matter():
    z, index = unit(6, 3), torch.tensor([0, 2, 0, 1, 2, 0])
    order = torch.tensor([5, 1, 3, 0, 4, 2])
    banks = [Bank(3, 4).double() for _ in range(2)]
    banks[0].visit(index, z, index, 0.7)
    banks[1].visit(index[order], z[order], index[order], 0.7)
    torch.testing.assert_close(banks[0].vectors, banks[1].vectors, rtol=0, atol=1e-15)


def test_what_was_not_visited_has_no_part():
    bank = Bank(4, 4).double()
    z = unit(3, 5)
    assert bank.similarities(z, 0.1).softmax(-1).eq(0.25).all()  # none was visited: no NaN
    bank.visit(torch.tensor([1, 3]), unit(2, 6), torch.tensor([0, 1]), 0.7)
    shares = bank.similarities(z, 0.1).softmax(-1)
    assert not shares[:, [0, 2]].any()
    torch.testing.assert_close(shares[:, [1, 3]], (z @ bank.vectors[[1, 3]].T / 0.1).softmax(-1))
    torch.testing.assert_close(bank.by_class(shares, 3), torch.cat([shares[:, [1, 3]], torch.zeros(3, 1)], 1))
    p = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    assert bank.of_label(p).tolist() == [[0.0, 0.5, 0.0, 0.3]]
