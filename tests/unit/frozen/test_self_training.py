"""The rounds of pseudo-labels: quotas, order, ties, and that they reach what the labels alone do not."""

import numpy as np
import torch
from torch.nn import functional as F

from semisonic.frozen.neighbors import Bank
from semisonic.frozen.self_training import ROUNDS, precision, rounds


def arcs(count: int = 60) -> tuple[Bank, torch.Tensor, np.ndarray]:
    """Two classes along two arcs, each with one labeled image at its end: far images of a class are nearer to the other
    class's label than to their own, and only a chain of neighbors leads to them."""
    steps = torch.linspace(0, 1, count)
    angle = steps * 2.6
    first = torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, 0.35)], 1)
    second = torch.stack([(angle + 2.9).cos(), (angle + 2.9).sin(), torch.full_like(angle, -0.35)], 1)
    features = F.normalize(torch.cat([first, second]), dim=1)
    labels = np.repeat([0, 1], count)
    labeled = Bank(features[[0, count]], torch.tensor([0, 1]), 2)
    return labeled, features, labels


def test_later_rounds_reach_what_the_labels_alone_get_wrong():
    labeled, pool, true = arcs()
    given = list(rounds(labeled, pool, 1))
    nearest_label = (pool @ labeled.features.T).argmax(1).numpy()
    assert len(given) == ROUNDS
    last = np.full(len(pool), -1)
    last[given[-1].rows.numpy()] = given[-1].labels.numpy()
    assert (nearest_label == true).mean() < 0.95 < (last == true).mean()


def test_each_round_gives_each_class_its_share_and_no_more():
    labeled, pool, _ = arcs()
    for number, found in enumerate(rounds(labeled, pool, 1), start=1):
        counts = torch.bincount(found.labels, minlength=2)
        assert (counts <= 60 * number // ROUNDS).all() and counts.sum() > 0
        assert torch.equal(found.rows, found.rows.unique())


def test_shares_follow_the_labels_and_a_class_without_one_gets_none():
    features = F.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    labeled = Bank(features[:4], torch.tensor([0, 0, 0, 2]), 3)
    first = next(iter(rounds(labeled, features[4:], 2)))
    counts = torch.bincount(first.labels, minlength=3)
    assert counts[1] == 0 and counts[0] <= 36 * 3 // 4 // ROUNDS and counts[2] <= max(1, 36 // 4 // ROUNDS)


def test_equal_images_are_taken_in_the_order_of_the_pool_every_time():
    labeled = Bank(torch.eye(2), torch.tensor([0, 1]), 2)
    pool = torch.eye(2).repeat(10, 1)  # ten copies of each label
    found = [next(iter(rounds(labeled, pool, 1))) for _ in range(2)]
    assert found[0].rows.tolist() == found[1].rows.tolist() == [0, 1, 2, 3]
    assert found[0].labels.tolist() == [0, 1, 0, 1]


def test_precision_leaves_out_images_without_a_class():
    labeled, pool, true = arcs()
    last = list(rounds(labeled, pool, 1))[-1]
    half = true.copy()
    half[::2] = -1
    found = precision(last, half)
    assert found is not None and 90 < found <= 100
    assert precision(last, np.full(len(pool), -1)) is None
