"""Labeling projects and stores of labels for tests: small ones, with files that are no images but have contents."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semisonic.daily.store import NewImage, ScoreBatch, Store

WHO = "ann"


def new_image(folder: Path, name: str, label: str | None = None, content: str | None = None) -> NewImage:
    """A file in a folder, whose content is its name unless another one is given, as `add` finds it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(name if content is None else content))
    return seen(path, label)


def seen(path: Path, label: str | None = None) -> NewImage:
    """A file as `add` finds it."""
    found = path.stat()
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return NewImage(str(path), digest, found.st_size, found.st_mtime_ns, found.st_ino, 8, 6, label)


def new_store(folder: Path, images: int = 0, classes: Sequence[str] = ("cat", "dog", "owl"), labeled: int = 0) -> Store:
    """A store of images 1 to N, the first of them labeled as the first class."""
    folder.mkdir(exist_ok=True)
    store = Store.create(folder / "labels.db", classes, WHO)
    store.add_images(
        [new_image(folder / "images", f"{i}.png", classes[0] if i <= labeled else None) for i in range(1, images + 1)],
        WHO,
    )
    return store


def batch(labels: Sequence[int], images: Iterable[int] | None = None, runner_up: int = 1) -> ScoreBatch:
    """Scores of images 1 to N, or of those that are given; the later, the more suspicious."""
    count = len(labels)
    numbers = np.arange(1, count + 1) if images is None else np.fromiter(images, np.int64)
    rising = np.linspace(0, 1, count) if count else np.zeros(0)
    return ScoreBatch(
        numbers, np.array(labels, np.int64), np.full(count, runner_up), 1 - rising, 1 - rising, rising,
        np.full(count, np.nan),
    )  # fmt: skip
