"""A small data set of noise and its split."""

import numpy as np
import torch

from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split

CPU = torch.device("cpu")


def data_set(count: int = 30, size: int = 16) -> DataSet:
    bits = np.random.default_rng(0)
    pixels = bits.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images = Images(pixels, np.arange(count) % 3)
    return DataSet("noise", ("a", "b", "c"), size, (0.5,) * 3, (0.25,) * 3, True, 2, images, images)


def split(count: int = 30) -> Split:
    return Split(np.arange(0, count, 5), np.arange(count), np.array([], dtype=np.int64))
