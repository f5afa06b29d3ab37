"""Nearest neighbors on frozen features: how near images are, how their labels vote, and how many of them do.

Legend: Q queries, M images of the bank that is searched, D values of a feature, K neighbors, C classes. Features have
length 1, so that their product is the cosine of their angle.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHUNK = 2**24
"""Similarities that are held at once."""
TEMPERATURE = 0.07
"""Of the votes: a neighbor counts exp((cosine - 1) / 0.07)."""
COUNTS = (1, 2, 5, 10, 20, 50)
"""Numbers of neighbors among which the labeled images choose."""


@dataclass(frozen=True)
class Bank:
    """Images that are searched."""

    features: Tensor
    """float [M, D] of length 1."""
    labels: Tensor
    """int64 [M]."""
    classes: int


def nearest(queries_QD: Tensor, bank_MD: Tensor, k: int, own_Q: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(rows int64 [Q, K], cosines float32 [Q, K]) of the K nearest of the bank, the nearest first; of equally near ones
    those with the lower rows.

    own_Q: the row of the bank that a query is itself, which is left out; -1 where it is not in the bank. k: below the
    size of the bank, or up to it where no query is in it.
    """
    bank_MD = bank_MD.float()
    step = max(1, CHUNK // len(bank_MD))
    parts = []
    for first in range(0, len(queries_QD), step):
        cosine_QM = queries_QD[first : first + step].float() @ bank_MD.T
        if own_Q is not None:
            own = own_Q[first : first + step]
            inside = (own >= 0).nonzero()[:, 0]
            cosine_QM[inside, own[inside]] = -torch.inf
        parts.append(_top(cosine_QM, k))
    rows, cosines = (torch.cat(part) for part in zip(*parts, strict=True))
    return rows, cosines


def _top(cosine_QM: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, equal ones by their place."""
    cosine, rows = cosine_QM.topk(min(k + 1, cosine_QM.shape[1]))
    if cosine.shape[1] > k:
        tied = (cosine[:, k - 1] == cosine[:, k]).nonzero()[:, 0]  # which of them `topk` takes is its own affair
        for query in tied.tolist():
            rows[query, :k] = cosine_QM[query].sort(descending=True, stable=True).indices[:k]
        rows = rows[:, :k]
    rows = rows.sort(dim=1).values
    order = cosine_QM.gather(1, rows).sort(dim=1, descending=True, stable=True)
    return rows.gather(1, order.indices), order.values


def votes(rows_QK: Tensor, cosine_QK: Tensor, bank: Bank) -> Tensor:
    """What the neighbors say: [Q, C], for each class the sum of exp((cosine - 1) / 0.07) of those that are of it."""
    weights_QK = ((cosine_QK - 1) / TEMPERATURE).exp()
    found = weights_QK.new_zeros(len(rows_QK), bank.classes)
    return found.scatter_add_(1, bank.labels[rows_QK], weights_QK)


def classified(queries_QD: Tensor, bank: Bank, k: int, own_Q: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(classes int64 [Q], votes for them float32 [Q]); of equal votes the class with the lower number."""
    rows_QK, cosine_QK = nearest(queries_QD, bank.features, k, own_Q)
    votes_QC = votes(rows_QK, cosine_QK, bank)
    best_Q = votes_QC.max(dim=1).values
    numbers_C = torch.arange(bank.classes, device=votes_QC.device)
    first_Q = torch.where(votes_QC == best_Q[:, None], numbers_C, bank.classes).min(dim=1).values
    return first_Q, best_Q


def choose_count(bank: Bank) -> tuple[int, str]:
    """How many neighbors tell the labeled images best when each is left out in turn, and how that was found; of equally
    good numbers the smallest."""
    size = len(bank.labels)
    allowed = [k for k in COUNTS if k < size]
    if len(allowed) < 2 or int(torch.bincount(bank.labels).max()) < 2:
        return 1, "too few labels to choose by"
    own = torch.arange(size, device=bank.labels.device)
    right = [int((classified(bank.features, bank, k, own)[0] == bank.labels).sum()) for k in allowed]
    return allowed[int(np.argmax(right))], "leaving each labeled image out in turn"
