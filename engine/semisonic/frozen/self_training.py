"""Self-training on frozen features: rounds of pseudo-labels by neighbors, then a linear head on all of them.

The rule, of which nothing is drawn. There are N images in the pool, a share p_c of the labeled images is of class c.

1. Round r of R = 5: the bank holds the labeled images with their labels, and what the round before has given a
   pseudo-label (nothing in the first). Each image of the pool is classified by its k nearest neighbors in the bank,
   without itself: each counts exp((cosine - 1) / 0.07) for its class, and the class with the most wins; of equal ones
   that with the lower number. k is what the nearest neighbors of the labeled images chose; from the second round on at
   least 10.
2. Of each class c the floor(p_c N r / R) images with the most votes for it get it as their pseudo-label, at least one
   and at most those that were classified so; of equal votes those that come first in the pool. So the labels of a round
   replace those of the round before, later rounds reach farther, and no class takes over; the labeled images keep
   their labels.
3. The head is a logistic regression on the labeled images and the last round's pseudo-labels, all counting alike, with
   as much regularization for each image as the labeled images alone chose.

Where classes are not as frequent in the pool as among the labeled images, the shares of step 2 are wrong by that much.
Legend: L labeled images, N images of the pool, D values of a feature, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semisonic.frozen.neighbors import Bank, classified

ROUNDS = 5
LEAST = 10
"""Neighbors that vote from the second round on, at least."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Of the pool, after a round."""

    rows: Tensor
    """int64 [P], ascending: which images of the pool have one."""
    labels: Tensor
    """int64 [P]."""


def rounds(labeled: Bank, pool_ND: Tensor, k: int) -> Iterator[PseudoLabels]:
    """What each round gives the pool; the last is what the head is trained on."""
    size = len(pool_ND)
    share_C = torch.bincount(labeled.labels, minlength=labeled.classes).double() / len(labeled.labels)
    given = PseudoLabels(torch.empty(0, dtype=torch.int64, device=pool_ND.device), labeled.labels[:0])
    for number in range(1, ROUNDS + 1):
        bank = Bank(
            torch.cat([labeled.features, pool_ND[given.rows]]), torch.cat([labeled.labels, given.labels]),
            labeled.classes,
        )  # fmt: skip
        own_N = torch.full((size,), -1, device=pool_ND.device)
        own_N[given.rows] = len(labeled.labels) + torch.arange(len(given.rows), device=pool_ND.device)
        count = k if number == 1 else max(k, LEAST)
        label_N, votes_N = classified(pool_ND, bank, min(count, len(bank.labels) - (number > 1)), own_N)
        quota_C = (share_C * size * number / ROUNDS + 1e-9).floor().clamp(min=1)
        given = _most_certain(label_N, votes_N, torch.where(share_C > 0, quota_C, 0).long())
        yield given


def _most_certain(label_N: Tensor, votes_N: Tensor, quota_C: Tensor) -> PseudoLabels:
    """Of each class so many images at most: those with the most votes, then the first."""
    kept = []
    for number, quota in enumerate(quota_C.tolist()):
        of_class = (label_N == number).nonzero()[:, 0]
        order = votes_N[of_class].sort(descending=True, stable=True).indices[:quota]
        kept.append(of_class[order])
    rows = torch.cat(kept).sort().values
    return PseudoLabels(rows, label_N[rows])


def precision(given: PseudoLabels, true_N: np.ndarray) -> float | None:
    """Percent of the pseudo-labels that are right, of those whose images have a known class; None where none has."""
    true = true_N[given.rows.cpu().numpy()]
    known = true >= 0
    return 100 * float((given.labels.cpu().numpy() == true)[known].mean()) if known.any() else None
