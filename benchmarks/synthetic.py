"""Images for benchmarks, so that none has to be downloaded: smooth random color fields."""

import numpy as np
import torch
from torch.nn import functional as F

from semisonic.data.sets.base import DataSet, Images

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
"""CIFAR-10's, per channel, on the 0..1 scale; the fields are given about the same."""

CHUNK = 2**22
"""Pixels that are made at a time."""


def synthetic(count: int, size: int, classes: int, seed: int = 0) -> DataSet:
    """A data set of `count` training and about a fifth as many test images [size, size, 3], classes in equal numbers.

    The same for the same arguments. A fine grain of +-8 levels lies over the fields, as on photographs.
    """
    generator = torch.Generator().manual_seed(seed)

    def images(number: int) -> Images:
        pixels = np.empty((number, size, size, 3), dtype=np.uint8)
        step = max(1, CHUNK // size**2)
        for first in range(0, number, step):
            part = pixels[first : first + step]
            part[:] = _fields(len(part), size, generator)
        labels = torch.randperm(number, generator=generator).numpy() % classes
        return Images(pixels, labels.astype(np.int64))

    names = tuple(f"class {number}" for number in range(classes))
    train, test = images(count), images(max(classes, count // 5))
    return DataSet("synthetic", names, size, MEAN, STD, flip=True, pad=size // 8, train=train, test=test)


def _fields(number: int, size: int, generator: torch.Generator) -> np.ndarray:
    """uint8 [number, size, size, 3]."""
    coarse = torch.randn(number, 3, 5, 5, generator=generator)
    fields = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    grain = torch.randint(-8, 9, fields.shape, generator=generator)
    levels = (255 * (mean + 1.3 * std * fields) + grain).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).numpy()
