"""What DALI's resize computes, in plain torch: for single images outside of a pipeline, in any process.

Shape suffixes: N images, C channels, H height, W width, S side of the result.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def resize(images_NCHW: Tensor, size: int) -> Tensor:
    """float [N, C, H, W] -> [N, C, S, S]: bilinear, smoothed where it shrinks, not rounded; differentiable.

    Rounded to the nearest even level it is DALI's operator, but for values halfway between two levels: there DALI may
    end one level away where it shrinks.
    """
    height, width = images_NCHW.shape[-2:]
    rows_SH, columns_SW = (
        torch.from_numpy(_weights(side, size)).to(images_NCHW.device, images_NCHW.dtype) for side in (height, width)
    )
    return rows_SH @ images_NCHW @ columns_SW.mT


@lru_cache(maxsize=256)
def _weights(side: int, size: int) -> np.ndarray:
    """The weight of each of `side` pixels in each of `size` ones, float32 [size, side]: a triangle, edges repeated."""
    scale = side / size
    radius = max(scale, 1.0)
    weights = np.zeros((size, side))
    for row in range(size):
        center = (row + 0.5) * scale - 0.5
        found = np.arange(np.ceil(center - radius), np.floor(center + radius) + 1)
        np.add.at(weights[row], found.clip(0, side - 1).astype(int), (1 - np.abs(found - center) / radius).clip(min=0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
