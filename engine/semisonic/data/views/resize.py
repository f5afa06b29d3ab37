"""What DALI's resize computes, in plain torch: for single images outside of a pipeline, in any process.

Shape suffixes: N images, C channels, H height, W width, S side of the result.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from semisonic.data.views import central
from semisonic.data.views.central import Interpolation


def resize(images_NCHW: Tensor, size: int, interpolation: Interpolation = "bilinear") -> Tensor:
    """float [N, C, H, W] -> [N, C, S, S]: smoothed where it shrinks, not rounded; differentiable.

    Rounded to the nearest even level it is DALI's operator, but for values halfway between two levels: there DALI may
    end one level away where it shrinks.
    """
    height, width = images_NCHW.shape[-2:]
    rows_SH, columns_SW = (
        torch.from_numpy(_weights(side, size, interpolation)).to(images_NCHW.device, images_NCHW.dtype)
        for side in (height, width)
    )
    return rows_SH @ images_NCHW @ columns_SW.mT


def rounded(levels: Tensor, halves: Literal["even", "up"] = "even") -> Tensor:
    """To the nearest of 0, 1, .. 255, with the gradient of the identity."""
    found = levels.detach()
    low = found.floor()  # x + 1/2 would itself be rounded, just below 1/2
    found = found.round() if halves == "even" else low + (found - low >= 0.5)
    return levels + (found.clamp(0, 255) - levels.detach())


def center(images_NCHW: Tensor, size: int, crop: float, interpolation: Interpolation) -> Tensor:
    """float [N, C, H, W] of whole levels -> [N, C, S, S], whole levels too: what `central.py` says; differentiable.

    On the CPU it is DALI's to the bit.
    """
    height, width = images_NCHW.shape[-2:]
    rows, columns = central.axes(height, width, size, crop, interpolation)
    window = images_NCHW[..., rows.start : rows.start + rows.count, columns.start : columns.start + columns.count]
    across = _resampled(window.mT, columns, size, interpolation).mT  # along each row
    return _resampled(across, rows, size, interpolation)


def _resampled(images_NCHW: Tensor, axis: central.Axis, size: int, interpolation: Interpolation) -> Tensor:
    """The rows [.., count, W] of a window as S ones, rounded."""
    first_S, weight_SK = central.taps(axis, size, interpolation)
    gain_S = torch.from_numpy(central.gains(axis, size, interpolation)).to(images_NCHW.device)
    total = torch.zeros_like(images_NCHW[..., :1, :].expand(*images_NCHW.shape[:-2], size, -1))
    for tap, weight_S in enumerate(weight_SK.T):
        row_S = first_S + tap - axis.before
        inside_S = (row_S >= 0) & (row_S < axis.count)  # the others are black
        weights = torch.from_numpy(np.where(inside_S, weight_S, np.float32(0))).to(images_NCHW)
        chosen = torch.from_numpy(row_S.clip(0, axis.count - 1)).to(images_NCHW.device)
        total = total + weights[:, None] * images_NCHW.index_select(-2, chosen)
    return rounded(total * gain_S[:, None], halves="up")


@lru_cache(maxsize=256)
def _weights(side: int, size: int, interpolation: Interpolation) -> np.ndarray:
    """The weight of each of `side` pixels in each of `size` ones, float32 [size, side]; edges repeated."""
    scale = side / size
    stretch = max(scale, 1.0)
    radius = stretch * central.RADIUS[interpolation]
    weights = np.zeros((size, side))
    for row in range(size):
        center = (row + 0.5) * scale - 0.5
        found = np.arange(np.ceil(center - radius), np.floor(center + radius) + 1)
        weight = _filter(np.abs(found - center) / stretch, interpolation)
        np.add.at(weights[row], found.clip(0, side - 1).astype(int), weight)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _filter(distance: np.ndarray, interpolation: Interpolation) -> np.ndarray:
    """A triangle of width 2, or the cubic of width 4 with slope -1/2 at distance 1."""
    if interpolation == "bilinear":
        return (1 - distance).clip(min=0)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))
