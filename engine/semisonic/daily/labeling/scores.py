"""The scores of auto-labels: how suspicious each is among all, how sure, and how far its image lies from earlier days.

Shape suffixes: N images, M images of earlier days, D features, T classes that are named.
"""

import numpy as np
import torch

from semisonic.curation.ranking import mean_rank
from semisonic.daily.passes.arrays import Features

EARLIER = 50_000
"""Images of earlier days that new ones are compared with, at most."""
NEAREST = 3
BLOCK = 2**26
"""Similarities that are computed at a time: 256 MB."""


def suspicion(columns: dict[str, np.ndarray]) -> np.ndarray:
    """float32 [N], 0 = surest .. 1: the mean rank of what other views and other networks say of the label."""
    others = [columns[name] for name in ("views", "run", "folds") if name in columns]
    return mean_rank(*others, higher_is_worse=False).astype(np.float32)


def certainty(columns: dict[str, np.ndarray]) -> np.ndarray:
    """float32 [N]."""
    return ((columns["views"].astype(np.float64) + columns["run"]) / 2).astype(np.float32)


def margin(p_NT: np.ndarray) -> np.ndarray:
    """float32 [N]: of one class alone, its probability."""
    return p_NT[:, 0] - p_NT[:, 1] if p_NT.shape[1] > 1 else p_NT[:, 0]


def earlier_sample(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """At most `EARLIER` images of earlier days, by number, ascending; always the same of the same ones."""
    if len(images) <= EARLIER:
        return images
    return np.sort(np.random.default_rng(seed).choice(images, EARLIER, replace=False))


def distances(new_N: np.ndarray, earlier_M: np.ndarray, features: Features, device: torch.device) -> np.ndarray:
    """float32 [N]: 1 - the mean cosine similarity of new images, by number, to the 3 nearest of earlier ones. Exact;
    NaN where there are none. All of them have features."""
    found = np.full(len(new_N), np.nan, np.float32)
    if not len(new_N) or not len(earlier_M):
        return found
    earlier_MD = _rows(features, earlier_M, device)
    nearest = min(NEAREST, len(earlier_M))
    for rows in np.array_split(np.arange(len(new_N)), -(-len(new_N) * len(earlier_M) // BLOCK)):
        similarity_NM = _rows(features, new_N[rows], device) @ earlier_MD.T
        found[rows] = 1 - similarity_NM.topk(nearest, dim=1).values.mean(1).cpu().numpy()
    return found


def _rows(features: Features, images: np.ndarray, device: torch.device) -> torch.Tensor:
    rows = torch.from_numpy(features.of(images)).to(device)
    return torch.nn.functional.normalize(rows, dim=1)  # half precision is not exact
