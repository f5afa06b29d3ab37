"""Neighbors against a plain sort, with ties; the number of them that the labeled images choose."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semisonic.frozen import neighbors
from semisonic.frozen.neighbors import Bank, choose_count, classified, nearest


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def plainly(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """The rows of the k nearest by a stable sort of all."""
    return (queries @ bank.T).sort(dim=1, descending=True, stable=True).indices[:, :k]


def test_they_are_those_of_a_plain_sort_in_chunks_too(monkeypatch: pytest.MonkeyPatch):
    queries, bank = unit(50, 8), unit(30, 8, seed=1)
    monkeypatch.setattr(neighbors, "CHUNK", 7 * 30)
    rows, cosines = nearest(queries, bank, 5)
    assert torch.equal(rows, plainly(queries, bank, 5))
    torch.testing.assert_close(cosines, (queries @ bank.T).gather(1, rows), rtol=0, atol=1e-6)  # of other sums


@pytest.mark.parametrize("k", [1, 3, 6])
def test_of_equally_near_images_the_first_are_taken(k: int):
    bank = unit(3, 8).repeat(4, 1)  # each direction four times: every place is tied
    rows, _ = nearest(unit(20, 8, seed=1), bank, k)
    assert torch.equal(rows, plainly(unit(20, 8, seed=1), bank, k))


def test_an_image_is_not_its_own_neighbor():
    bank = unit(12, 4)
    rows, _ = nearest(bank, bank, 1)
    assert rows[:, 0].tolist() == list(range(12))
    rows, _ = nearest(bank, bank, 11, torch.arange(12))
    assert all(number not in own for number, own in enumerate(rows.tolist()))


def test_votes_count_by_nearness_and_equal_ones_go_to_the_lower_class():
    bank = Bank(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]), torch.tensor([2, 1, 1]), 3)
    query = torch.tensor([[1.0, 0.0]])
    label, votes = classified(query, bank, 3)
    assert label.tolist() == [2]  # one at cosine 1 against two at .6
    assert votes.tolist() == pytest.approx([1.0])
    even = Bank(torch.tensor([[0.6, 0.8], [0.6, -0.8]]), torch.tensor([2, 1]), 3)
    assert classified(query, even, 2)[0].tolist() == [1]


def test_the_number_is_chosen_by_leaving_each_labeled_image_out():
    """Pairs of near images whose classes differ: the single nearest is wrong, five are right."""
    angles = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])  # degrees apart within a class
    near = torch.cat([torch.deg2rad(angles), torch.deg2rad(angles + 90)])
    labels = torch.tensor([0] * 6 + [1] * 6)
    features = torch.stack([near.cos(), near.sin()], 1)
    assert choose_count(Bank(features, labels, 2))[0] == 1  # all are right, so the smallest
    swapped = labels.clone()
    swapped[[2, 8]] = torch.tensor([1, 0])  # a wrong label misleads its nearest neighbors alone
    assert choose_count(Bank(features, swapped, 2))[0] > 1


def test_with_one_label_a_class_there_is_nothing_to_choose_by():
    assert choose_count(Bank(unit(10, 4), torch.arange(10), 10)) == (1, "too few labels to choose by")


def test_features_in_half_precision_are_compared_in_full():
    queries, bank = unit(20, 16).half(), unit(40, 16, seed=1).half()
    assert torch.equal(nearest(queries, bank, 4)[0], plainly(queries.float(), bank.float(), 4))
    assert np.isfinite(nearest(queries, bank, 4)[1].numpy()).all()
