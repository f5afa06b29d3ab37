"""Projects of digits for tests that train: pictures in files, of which the first of each class are labeled."""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from semisonic.daily.command import parse_options
from semisonic.daily.project import Project
from semisonic.daily.store import NewImage

WHO = "ann"
CLASSES = ("0", "1", "2", "seven")
"""Of which the last has no picture."""
SIDE = 16
FIELDS: dict[str, Any] = {
    "model": {"name": "small"}, "device": "cpu", "threads": 1, "steps": 3, "precision": "fp32",
    "batch": {"labeled": 4, "unlabeled_ratio": 1}, "log": {"trackers": [], "every": 3}, "checkpoint": {"snapshots": 1},
}  # fmt: skip


def digit_files(folder: Path, count: int, labeled: int, wrong: Sequence[int] = ()) -> list[NewImage]:
    """Pictures of the digits 0, 1 and 2 in turn, as `add` finds them. wrong: those that are labeled as the next one."""
    digits, folder = load_digits(), folder / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [np.flatnonzero(digits.target == kind) for kind in range(3)]
    found = []
    for number in range(count):
        pixels = (digits.images[rows[number % 3][number // 3]] * 15).astype(np.uint8)
        path = folder / f"{number:03}.png"
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST).convert("RGB").save(path)
        label = CLASSES[(number + (number in wrong)) % 3] if number < labeled else None
        found.append(as_found(path, label))
    return found


def as_found(path: Path, label: str | None = None) -> NewImage:
    seen = path.stat()
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return NewImage(str(path), digest, seen.st_size, seen.st_mtime_ns, seen.st_ino, SIDE, SIDE, label)


def digit_project(folder: Path, count: int = 24, labeled: int = 12, **fields: Any) -> Project:
    """A project of these pictures, in `folder`/project."""
    project = Project.create(folder / "project", CLASSES, SIDE, FIELDS | fields, WHO)
    with project.store() as store:
        store.add_images(digit_files(folder, count, labeled), WHO)
    return project


def train_options(*options: str) -> argparse.Namespace:
    """What `daily PROJECT train` is given."""
    return parse_options("train", options)
