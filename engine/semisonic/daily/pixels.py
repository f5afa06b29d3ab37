"""Features for the first day, before there is a network: the principal components of small copies of the images."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semisonic.checkpoint.atomic_files import write_bytes
from semisonic.daily.passes.images import Known
from semisonic.daily.passes.makers import Maker
from semisonic.daily.writing import written
from semisonic.inference.inputs import Inputs
from semisonic.inference.reading import Reading
from semisonic.records.arrays import read_array

SIDE = 32
"""Pixels of the copies, at most."""
COMPONENTS = 32
FITTED = 20_000
"""Images of which components are computed, at most."""


class Copies:
    """Takes the place of a network: small images are their own features, float32 [N, 3 * S * S] on the scale 0..1."""

    def __init__(self, size: int, device: torch.device):
        self.classes: list[str] = []
        self.image_size = min(SIDE, size)
        self.preprocess: dict[str, Any] = {"view": "plain"}
        self.weak: dict[str, Any] = {}
        self.transform = Inputs(self.image_size, "plain")
        self.network = None
        self.device = device

    @property
    def feature_dim(self) -> int:
        return 3 * self.image_size**2

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1).float() / 255

    def __call__(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    head_of = __call__


class Shrink(Maker):
    """Small copies, uint8 [N, 3 * S * S]."""

    def of(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"features": images[0].flatten(1)}


class Components(Copies):
    """The principal components of small copies, in the place of a network."""

    def __init__(self, size: int, device: torch.device, table: np.ndarray):
        """table: float32 [1 + K, 3 * S * S], the mean and the components."""
        super().__init__(size, device)
        self.table = torch.from_numpy(table).to(device)
        self.digest = hashlib.blake2b(table.tobytes(), digest_size=16).hexdigest()

    @property
    def feature_dim(self) -> int:
        return len(self.table) - 1

    def features(self, images: Tensor) -> Tensor:
        return (super().features(images) - self.table[0]) @ self.table[1:].T


def fit(copies: np.ndarray) -> np.ndarray:
    """The table of `Components` of small copies, uint8 [N, 3 * S * S]; K is less than `COMPONENTS` for few images."""
    from sklearn.decomposition import PCA

    pixels = copies.astype(np.float32) / 255
    if len(pixels) == 1:  # which differs from no other
        return np.concatenate([pixels, np.zeros_like(pixels)])
    found = PCA(min(COMPONENTS, *pixels.shape), svd_solver="randomized", random_state=0).fit(pixels)
    return np.concatenate([found.mean_[None], found.components_]).astype(np.float32)


def sample(images: np.ndarray) -> np.ndarray:
    """At most `FITTED` of the images by number, ascending; always the same of the same ones."""
    if len(images) <= FITTED:
        return images
    return np.sort(np.random.default_rng(0).choice(images, FITTED, replace=False))


def read_table(file: Path, size: int) -> np.ndarray | None:
    """The components of a project whose images have this side; None where there are none."""
    try:
        table = read_array(file, kinds="f")
    except (OSError, ValueError):
        return None
    return table if table.ndim == 2 and table.shape[1] == 3 * min(SIDE, size) ** 2 and len(table) > 1 else None


def write_table(file: Path, table: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, table)
    with written(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content.getbuffer())


def copies_of(size: int, device: torch.device, images: Known, reading: Reading) -> Shrink:
    """What makes small copies of images."""
    return Shrink(Copies(size, device), images, reading=reading)
