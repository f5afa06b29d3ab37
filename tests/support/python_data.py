"""Images in memory and a network of one's own, as users of `semisonic.train` have them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

TINY: dict[str, Any] = {
    "steps": 8, "device": "cpu", "threads": 1, "batch": {"labeled": 8, "unlabeled_ratio": 2}, "quiet": True,
    "eval": {"every": 4, "batch": 256}, "log": {"every": 4, "trackers": ()}, "checkpoint": {"every": 4, "keep": 9},
    "ema": {"decay": 0.5}, "optim": {"lr": 0.05},
}  # fmt: skip
"""Fields of a run of a second, as keywords."""


def digits(labeled: int = 100, unlabeled: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N, 8, 8] and labels [N], the last of which are -1."""
    bunch = load_digits()
    labels = bunch.target[: labeled + unlabeled].astype(np.int64)
    labels[labeled:] = -1
    return (bunch.images[: len(labels)] * 15).astype(np.uint8), labels


class Pairs(Dataset):
    """A map-style data set."""

    classes = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

    def __init__(self, images: Any, labels: Any):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


class OwnNet(nn.Module):
    """A network that knows nothing of this package."""

    def __init__(self, classes: int, width: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.hidden = nn.Linear(4 * width, 16)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.conv(images)))
        flat = nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)
        return self.classifier(self.dropout(torch.relu(self.hidden(flat))))


def weights(folder: Path, step: int) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    from safetensors.torch import load_file

    place = folder / "checkpoints" / f"step-{step}"
    return load_file(place / "model.safetensors") | load_file(place / "optimizer.safetensors")
