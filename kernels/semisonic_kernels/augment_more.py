"""Hue shifts and rescaling for `augment`: the plain-torch definitions; `augment_more_triton.py` has them for Triton.

Hue: the shift by a share of a full turn in HSV, computed per pixel without a detour over bytes:
    h = hue in sixths of a turn;  channel_n = V - C * clip(min(k, 4 - k), 0, 1), k = (n + h + 6 shift) mod 6,
with V = max, C = max - min and n = 5, 3, 1 for red, green, blue.

Rescaling: Pillow's resize of a box with one of its six filters, for boxes not larger than the image. An output pixel
is a weighted mean of 6 x 6 pixels, whose weights come from a table of the filters at 257 positions between two pixels;
those outside the image do not count.

Shape suffixes: C samples, H and W height and width.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

PHASES = 256
"""Positions between two pixels at which the filters are tabulated."""
TAPS = 6
"""Pixels under the widest filter."""


# --- hue --------------------------------------------------------------------------------------------------


def shift_hue(pixels_CHW3: Tensor, shift: Tensor) -> Tensor:
    """uint8 [C, H, W, 3], shift in turns [C, 1, 1, 1]."""
    red, green, blue = (pixels_CHW3[..., channel : channel + 1].float() for channel in range(3))
    high, low = pixels_CHW3.amax(-1, keepdim=True).float(), pixels_CHW3.amin(-1, keepdim=True).float()
    chroma = high - low
    sixth = torch.where(high == red, green - blue, torch.where(high == green, blue - red, red - green)) / chroma.clamp(
        min=1
    )
    sixth += torch.where(high == red, 0.0, torch.where(high == green, 2.0, 4.0))
    turned = sixth + shift * 6
    k = torch.tensor([5.0, 3.0, 1.0], device=pixels_CHW3.device) + turned
    k = k - (k * (1 / 6)).floor() * 6
    weight = torch.minimum(k, 4 - k).clamp(0, 1)
    return (high - chroma * weight + 0.5).floor_().clamp_(0, 255).to(torch.uint8)


# --- rescaling --------------------------------------------------------------------------------------------


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if abs(x) < 3 else 0.0


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _hamming(x: float) -> float:
    return _sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)) if abs(x) < 1 else 0.0


METHODS: tuple[Callable[[float], float], ...] = (_lanczos, _bicubic, _bilinear, _box, _hamming, _box)
"""Lanczos, bicubic, bilinear, box, Hamming, nearest, the last as the box: where nothing shrinks, they are the same."""


@lru_cache
def filter_table(device: torch.device) -> Tensor:
    """Weights float32 [methods, PHASES + 1, TAPS] of the pixels from 2 below the position's pixel on."""
    table = [
        [[method(tap - 2 - phase / PHASES) for tap in range(TAPS)] for phase in range(PHASES + 1)] for method in METHODS
    ]
    return torch.tensor(table, dtype=torch.float32).to(device)


def rescale(pixels_CHW3: Tensor, methods: Tensor, matrices_C23: Tensor) -> Tensor:
    """uint8 [C, H, W, 3], methods' numbers [C, 1, 1, 1], matrices whose scales and offsets alone are read."""
    count, height, width, _ = pixels_CHW3.shape
    method_C = methods.view(-1).round().clamp(0, len(METHODS) - 1).long()
    rows_CHT, y_CHT = _weights(method_C, matrices_C23[:, 1, 1], matrices_C23[:, 1, 2], height)
    columns_CWT, x_CWT = _weights(method_C, matrices_C23[:, 0, 0], matrices_C23[:, 0, 2], width)
    sample = torch.arange(count, device=pixels_CHW3.device).view(-1, 1, 1)
    total = torch.zeros_like(pixels_CHW3, dtype=torch.float32)
    norm = total.new_zeros(count, height, width, 1)
    for row in range(TAPS):
        for column in range(TAPS):
            weight = (rows_CHT[:, :, None, row] * columns_CWT[:, None, :, column]).unsqueeze(-1)
            taken = pixels_CHW3[sample, y_CHT[:, :, None, row], x_CWT[:, None, :, column]]
            total += weight * taken
            norm += weight
    return (total / norm + 0.5).floor_().clamp_(0, 255).to(torch.uint8)


def _weights(method_C: Tensor, scale_C: Tensor, offset_C: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For every output position its weights and pixels, [C, size, TAPS] each; weight 0 outside the image."""
    centers = torch.arange(size, dtype=torch.float32, device=scale_C.device) + 0.5
    position = scale_C[:, None] * centers + offset_C[:, None] - 0.5
    first = position.floor()
    phase = ((position - first) * PHASES + 0.5).floor().long()
    weights = filter_table(scale_C.device)[method_C[:, None], phase]
    pixel = (first.clamp(-4, size + 4).long() - 2).unsqueeze(-1) + torch.arange(TAPS, device=scale_C.device)
    inside = (pixel >= 0) & (pixel < size)
    return weights * inside, pixel.clamp(0, size - 1)
