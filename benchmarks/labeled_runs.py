"""Runs of FixMatch on chosen labels, for benchmarks of the labeling loop: small, on the CPU, from Python."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import semisonic
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.idx import find_idx, read_idx
from semisonic.data.sets.registry import load_data_set

FASHION = Path("/usr/share/datasets/fashion-mnist")


class Pool(NamedTuple):
    """uint8 images [N, H, W, 3] or [N, H, W] with their true classes [N]."""

    images: np.ndarray
    truth: np.ndarray
    test: tuple[np.ndarray, np.ndarray]


def digits() -> Pool:
    """1,397 images of 16x16, and 400 for tests."""
    data = load_data_set(DataConfig(name="digits"))
    return Pool(data.train.pixels, data.train.labels, (data.test.pixels, data.test.labels))


def fashion(count: int = 3_000, test: int = 2_000, seed: int = 0) -> Pool:
    """`count` of Fashion-MNIST's training images, drawn at random and halved to 14x14, and `test` test images."""
    files, missing = find_idx(FASHION, "FashionMNIST/raw")
    if missing:
        raise SystemExit(f"{FASHION}: has no {', '.join(missing)}; install Debian's dataset-fashion-mnist")
    rows = np.random.default_rng(seed).permutation(60_000)[:count]
    images = halved(read_idx(files["train images"], 3)[rows])
    tests = halved(read_idx(files["test images"], 3)[:test]), read_idx(files["test labels"], 1)[:test].astype(np.int64)
    return Pool(images, read_idx(files["train labels"], 1)[rows].astype(np.int64), tests)


def halved(images: np.ndarray) -> np.ndarray:
    """uint8 [N, 28, 28] -> [N, 14, 14], each pixel the mean of four."""
    return images.reshape(-1, 14, 2, 14, 2).mean((2, 4)).round().astype(np.uint8)


def balanced(truth: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Rows of `per_class` random images of every class."""
    order = np.random.default_rng(seed).permutation(len(truth))
    return np.concatenate([order[truth[order] == one][:per_class] for one in np.unique(truth)])


def fields(steps: int, seed: int, out: Path) -> dict[str, Any]:
    """FixMatch of 32 + 96 images a step on the network `small`, on the CPU; all but the data."""
    return {
        "model": "small", "batch": {"labeled": 32, "unlabeled_ratio": 3}, "ema": {"decay": 0.99, "start_up": "tf"},
        "optim": {"lr": 0.1}, "algorithm": "fixmatch", "device": "cpu", "threads": 1, "log": {"trackers": []},
        "eval": {"every": steps}, "seed": seed, "steps": steps, "out": out,
    }  # fmt: skip


def train(pool: Pool, labeled: np.ndarray, steps: int, seed: int, out: Path, **others: Any) -> semisonic.Result:
    """A run on the labels of these rows and all other images without labels."""
    given = np.full(len(pool.truth), -1)
    given[labeled] = pool.truth[labeled]
    data = {"images": (pool.images, given), "test": pool.test, "classes": [str(one) for one in range(10)]}
    return semisonic.train(data=data | {"flip": False}, quiet=True, **(fields(steps, seed, out) | others))
