"""Hue shifts and rescaling for the Triton kernel of `augment`, as `augment_more.py` defines them.

Shape suffixes: P pixels of a tile, 4 the channels and a masked one.
"""

import triton
import triton.language as tl


@triton.jit
def shifted_hue(image, shift):
    """Integers [P, 4] -> integers 0..255 [P, 4]."""
    channels = tl.arange(0, 4)[None, :]
    red = tl.sum(tl.where(channels == 0, image, 0), axis=1, keep_dims=True)
    green = tl.sum(tl.where(channels == 1, image, 0), axis=1, keep_dims=True)
    blue = tl.sum(tl.where(channels == 2, image, 0), axis=1, keep_dims=True)
    high = tl.maximum(tl.maximum(red, green), blue)
    chroma = high - tl.minimum(tl.minimum(red, green), blue)
    difference = tl.where(high == red, green - blue, tl.where(high == green, blue - red, red - green))
    sixth = tl.div_rn(difference.to(tl.float32), tl.maximum(chroma, 1).to(tl.float32))
    sixth += tl.where(high == red, 0.0, tl.where(high == green, 2.0, 4.0))
    k = tl.where(channels == 0, 5.0, tl.where(channels == 1, 3.0, 1.0)) + (sixth + shift * 6)
    k = k - tl.floor(k * (1 / 6)) * 6
    weight = tl.minimum(tl.maximum(tl.minimum(k, 4 - k), 0.0), 1.0)
    results = tl.floor(high.to(tl.float32) - chroma.to(tl.float32) * weight + 0.5)
    return tl.minimum(tl.maximum(results, 0.0), 255.0).to(tl.int32)


@triton.jit
def rescaled(source, pixels, mask, method, matrix, table, height, width):
    """Integers 0..255 [P, 4] of the output pixels' numbers [P, 1]."""
    channels = tl.arange(0, 4)[None, :]
    x = tl.load(matrix) * ((pixels % width).to(tl.float32) + 0.5) + tl.load(matrix + 2) - 0.5
    y = tl.load(matrix + 4) * ((pixels // width).to(tl.float32) + 0.5) + tl.load(matrix + 5) - 0.5
    first_x, first_y = tl.floor(x), tl.floor(y)
    phase_x, phase_y = (
        (tl.floor((x - first_x) * 256 + 0.5)).to(tl.int32),
        tl.floor((y - first_y) * 256 + 0.5).to(tl.int32),
    )
    number = tl.floor(tl.minimum(tl.maximum(method, 0.0), 5.0) + 0.5).to(tl.int32)
    weights_x, weights_y = table + (number * 257 + phase_x) * 6, table + (number * 257 + phase_y) * 6
    left = tl.minimum(tl.maximum(first_x, -4.0), width + 4.0).to(tl.int32) - 2
    top = tl.minimum(tl.maximum(first_y, -4.0), height + 4.0).to(tl.int32) - 2
    total = tl.zeros(mask.shape, tl.float32)
    norm = tl.zeros(pixels.shape, tl.float32)
    for tap in range(36):
        row, column = top + tap // 6, left + tap % 6
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        weight = tl.load(weights_y + tap // 6) * tl.load(weights_x + tap % 6)
        weight = tl.where(inside, weight, 0.0)
        address = source + (row * width + column) * 3 + channels
        total += weight * tl.load(address, mask=mask & inside, other=0).to(tl.float32)
        norm += weight
    norm = tl.where(norm == 0, 1.0, norm)  # of pixels beyond the last
    results = tl.floor(tl.div_rn(total, tl.broadcast_to(norm, total.shape)) + 0.5)
    return tl.minimum(tl.maximum(results, 0.0), 255.0).to(tl.int32)
