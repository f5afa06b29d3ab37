"""A data set with its recipe, a network with blocks, and a view, as a plug-in registers them."""

from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic import register
from semisonic.data.sets.base import DataConfig, DataSet, Images
from semisonic.data.views.view import Geometry, View, Weak
from semisonic.models.norm import BatchNorm2d

SIZE, CLASSES = 8, ("dark", "light")


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        return images + F.relu(self.norm(self.conv(images)))


class OwnNet(nn.Module):
    """Two blocks and a linear head; images [N, 3, H, W] -> logits [N, classes]."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(Block(8), Block(8))
        self.feature_dim, self.head = 8, nn.Linear(8, classes)

    def features(self, images: Tensor) -> Tensor:
        return self.blocks(self.stem(images)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def load_squares(cfg: DataConfig) -> DataSet:
    """Noise that is dark or light."""
    bits = np.random.default_rng(0)

    def images(count: int) -> Images:
        labels = np.arange(count) % 2
        pixels = bits.integers(0, 100, (count, SIZE, SIZE, 3)) + 150 * labels[:, None, None, None]
        return Images(pixels.astype(np.uint8), labels)

    pad = 1 if cfg.pad is None else cfg.pad
    train, test = images(120), images(20)
    return DataSet("own-squares", CLASSES, SIZE, (0.5,) * 3, (0.3,) * 3, bool(cfg.flip), pad, train, test)


def squares() -> dict[str, Any]:
    """Dark and light squares on the network of two blocks."""
    return {
        "steps": 4,
        "data": {"name": "own-squares", "labels": 8},
        "batch": {"labeled": 4, "unlabeled_ratio": 2},
        "model": {"name": "own-net"},
        "algorithm": {"name": "fixmatch", "strong": "own-noise(0.3)"},
        "eval": {"every": 2},
        "checkpoint": {"every": 2},
        "log": {"every": 1},
    }


def own_noise(geometry: Geometry, arguments: list[float], equalize: str, operations: str) -> View:
    strength = arguments[0] if arguments else 0.1
    if not 0 <= strength < 1:
        raise ValueError("the deviation must be 0 to 1")
    return Weak(geometry, strength)


register.network("own-net", OwnNet, "two blocks, for squares", blocks=(Block,))
register.data_set("own-squares", load_squares, "dark and light squares, 8x8, 120 + 20", size=SIZE, classes=2,
                  counts=(60, 60), recipe=squares)  # fmt: skip
register.view("own-noise", own_noise, "weak with noise", form="own-noise(STD)", arguments=1, example="own-noise")
