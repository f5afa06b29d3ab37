"""Which images to label first and next, from their features: typical and diverse, farthest, least sure of each cluster.

What grows faster than the number of images is capped: clusters are fitted on at most 100,000 of them, at most 2,000 of
a cluster are compared with each other, and new images with at most 50,000 earlier ones. All of it is the same for the
same seed. Legend: N images, D values of a feature, K clusters.
"""

import warnings

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

FITTED = 100_000
COMPARED = 2_000
EARLIER = 50_000
CLUSTERS = 1_000
"""More are not made: from each, several images are taken then, in turns."""
NEIGHBORS = 20
NEAREST = 3
"""Earlier images whose mean similarity says how near an image lies to all of them."""
BATCHED_FROM = 2e9
"""Products of a pass of k-means, from which it takes batches instead of all images at once."""
CHUNK = 1 << 24
"""Values that are computed on at once: 64 MB of float32."""


def clusters(features_ND: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster of each image, int64 [N], by k-means into `count` (at most N and 1,000), fitted on 100,000."""
    rows = len(features_ND)
    _check_count("count", count, rows)
    count = min(count, rows, CLUSTERS)
    fitted = _sample(rows, FITTED, seed)
    values = _float32(features_ND[fitted])
    large = values.size * count > BATCHED_FROM
    kind = MiniBatchKMeans if large else KMeans
    options = {"batch_size": 4_096} if large else {}
    # Threads add up in any order, and another sum is another cluster now and then.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different images than clusters
        model = kind(count, n_init=1 if large else 3, max_iter=50, random_state=seed, **options).fit(values)
        return _assigned(features_ND, model.cluster_centers_)


def _assigned(features_ND: np.ndarray, centers_KD: np.ndarray) -> np.ndarray:
    """The nearest center of each image."""
    centers = _float32(centers_KD)
    half = (centers**2).sum(1) / 2
    step = max(1, CHUNK // max(centers.shape))
    parts = [
        np.argmax(_float32(features_ND[start : start + step]) @ centers.T - half, 1)
        for start in range(0, len(features_ND), step)
    ]
    return np.concatenate(parts)


def typical(features_ND: np.ndarray, count: int, labeled_N: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Rows of `count` images that are typical and diverse, the first the most useful; fewer where fewer are unlabeled.

    K-means into as many clusters as there are labels in all; from those with the fewest labels, the largest first, the
    image with the smallest mean distance to its (up to) 20 neighbors in the cluster. labeled_N: bool.
    """
    rows = len(features_ND)
    labeled = np.zeros(rows, bool) if labeled_N is None else np.asarray(labeled_N, bool)
    _check_count("count", count, rows)
    count = min(count, rows - int(labeled.sum()))
    if not count:
        return np.zeros(0, np.int64)
    cluster = clusters(features_ND, count + int(labeled.sum()), seed)
    size = np.bincount(cluster)
    labels, free = (
        np.bincount(cluster[labeled], minlength=len(size)),
        np.bincount(cluster[~labeled], minlength=len(size)),
    )
    order: dict[int, list[int]] = {}
    chosen: list[int] = []
    while len(chosen) < count:
        index = int(np.lexsort((-size, labels, free == 0))[0])
        if index not in order:
            members = np.flatnonzero(cluster == index)
            order[index] = [int(row) for row in _by_typicality(features_ND, members, seed) if not labeled[row]]
        if order[index]:
            chosen.append(order[index].pop(0))
            labels[index] += 1
        free[index] = len(order[index])
    return np.array(chosen, np.int64)


def _by_typicality(features_ND: np.ndarray, members: np.ndarray, seed: int) -> np.ndarray:
    """Rows of a cluster by mean distance to their neighbors in it; of more than 2,000, those that are drawn."""
    members = members[_sample(len(members), COMPARED, seed)]
    if len(members) < 2:
        return members
    values = _float32(features_ND[members])
    values = values - values.mean(0)  # distances stay, and squares of what all have in common do not drown them
    square = (values**2).sum(1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * values @ values.T, 0))
    np.fill_diagonal(distance, np.inf)
    nearest = min(NEIGHBORS, len(members) - 1)
    return members[np.argsort(np.partition(distance, nearest - 1, 1)[:, :nearest].mean(1), kind="stable")]


def distances(new_MD: np.ndarray, earlier_ND: np.ndarray, seed: int = 0) -> np.ndarray:
    """How far each new image lies from all earlier ones: 1 - its mean cosine similarity to the 3 nearest of (at most
    50,000 of) them, float32 [M]. 0 is among them; a class that is new lies far off."""
    if not len(earlier_ND):
        raise ValueError("there are no earlier images")
    earlier = normalized(earlier_ND[_sample(len(earlier_ND), EARLIER, seed)])
    nearest, step = min(NEAREST, len(earlier)), max(1, CHUNK // len(earlier))
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(new_MD), step):
        similarity = normalized(new_MD[start : start + step]) @ earlier.T
        parts.append(1 - np.partition(similarity, -nearest, 1)[:, -nearest:].mean(1))
    return np.concatenate(parts)


def farthest(new_MD: np.ndarray, earlier_ND: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Rows of the `count` new images that lie farthest from all earlier ones, the farthest first."""
    _check_count("count", count, len(new_MD))
    return np.argsort(-distances(new_MD, earlier_ND, seed), kind="stable")[:count]


def least_sure_per_cluster(
    features_ND: np.ndarray, margin_N: np.ndarray, count: int, pool: int | None = None, seed: int = 0
) -> np.ndarray:
    """Rows of the image with the smallest margin in each of `count` clusters of the `pool` (default: 10 a cluster)
    images with the smallest margins, the least sure first: so that a page is not many times the same confusion."""
    rows = len(features_ND)
    _check_count("count", count, rows)
    count = min(count, rows)
    candidates = np.argsort(margin_N, kind="stable")[: max(count, pool or 10 * count)]
    cluster = clusters(features_ND[candidates], count, seed)
    first = np.unique(cluster, return_index=True)[1]  # candidates stand in the order of their margins
    others = np.setdiff1d(np.arange(len(candidates)), first)[
        : count - len(first)
    ]  # where clusters are empty or too many
    return candidates[np.concatenate([np.sort(first), others])[:count]]


def normalized(features_ND: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; those of zeros stay zeros."""
    values = _float32(features_ND)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _sample(rows: int, most: int, seed: int) -> np.ndarray:
    """Of 0..rows-1 all, or `most` drawn at random, in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _check_count(name: str, count: int, rows: int) -> None:
    if count < 1 or not rows:
        raise ValueError(f"{name}: {count} of {rows} images; give at least one of at least one")
