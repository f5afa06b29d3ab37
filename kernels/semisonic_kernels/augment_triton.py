"""`augment` on a GPU: one launch per level, one program per image, which branches on the operation's code.

Operations are those of augment_reference.py, rounding by rounding; products and sums are never fused.
Shape suffixes: P pixels of a tile, R rows and S columns of a tile, 4 the three channels and one that is masked.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from semisonic_kernels import augment_reference as codes
from semisonic_kernels.augment_more import filter_table
from semisonic_kernels.augment_more_triton import rescaled, shifted_hue

_WARP = tl.constexpr(codes.WARP)
_CONTRAST = tl.constexpr(codes.CONTRAST)
_BRIGHTNESS = tl.constexpr(codes.BRIGHTNESS)
_COLOR = tl.constexpr(codes.COLOR)
_SHARPNESS = tl.constexpr(codes.SHARPNESS)
_POSTERIZE = tl.constexpr(codes.POSTERIZE)
_SOLARIZE = tl.constexpr(codes.SOLARIZE)
_AUTO_CONTRAST = tl.constexpr(codes.AUTO_CONTRAST)
_EQUALIZE = tl.constexpr(codes.EQUALIZE)
_INVERT = tl.constexpr(codes.INVERT)
_BLUR = tl.constexpr(codes.BLUR)
_HUE = tl.constexpr(codes.HUE)
_HOLE = tl.constexpr(codes.HOLE)
_RESCALE = tl.constexpr(codes.RESCALE)
_RED, _GREEN, _BLUE = (tl.constexpr(weight) for weight in codes.GRAY)
_CHECKPOINT = tl.constexpr(codes.CHECKPOINT)
_REGISTERS = 128
"""Of a thread, at most. Without a number the assembler aims for more programs at a time, and some forms spill,
others on each generation of GPUs and with each version of it."""
_TILE = tl.constexpr(256)
"""Pixels of a tile of the color operations: 4 values a thread. With 8 a thread, some forms spill registers."""
_CHANNEL_TILE = tl.constexpr(1024)
"""The same for one channel alone."""
_SIDE = tl.constexpr(32)
"""Rows and columns of a tile of the warp; divides _CHECKPOINT."""


def augment_launch(
    images: Tensor,
    operations: Tensor,
    values: Tensor,
    matrices: Tensor,
    holes: Tensor | None,
    fill: tuple[int, int, int],
    pillow_equalize: bool,
    extended: bool = False,
) -> Tensor:
    """`augment` after its checks. Every tensor is allocated by its shape alone, so that a CUDA graph can hold it."""
    count, height, width, _ = images.shape
    levels = operations.shape[1]
    source = images.contiguous()
    operations, values, matrices = operations.contiguous(), values.contiguous(), matrices.contiguous()
    holes = holes if holes is None else holes.contiguous()
    if not count or (not levels and holes is None):
        return source.clone()
    table = filter_table(images.device) if extended else None
    # With holes but no level, one pass that applies no operation.
    for level in range(max(levels, 1)):
        target = torch.empty_like(source)
        _level_kernel[(count,)](
            source, target, operations, values, matrices, holes, table,
            level, int(level >= levels - 1), height, width, 1 / (height * width), *fill,
            LEVELS=levels, HOLES=holes is not None, PILLOW=pillow_equalize, EXTENDED=extended,
            num_warps=8, maxnreg=_REGISTERS, enable_fp_fusion=False,
        )  # fmt: skip
        source = target
    return source


@triton.jit(do_not_specialize=["level", "last", "red", "green", "blue"])
def _level_kernel(
    sources, targets, operations, values, matrices, holes, table,
    level, last, height, width, inverse_area, red, green, blue,
    LEVELS: tl.constexpr, HOLES: tl.constexpr, PILLOW: tl.constexpr, EXTENDED: tl.constexpr,
):  # fmt: skip
    sample = tl.program_id(0).to(tl.int64)
    source = sources + sample * (height * width * 3)
    target = targets + sample * (height * width * 3)
    if HOLES:
        # Before the last level the hole ends in row 0 and holds nothing.
        top, left = tl.load(holes + 4 * sample), tl.load(holes + 4 * sample + 1)
        bottom, right = tl.load(holes + 4 * sample + 2) * last, tl.load(holes + 4 * sample + 3)
        hole = (top, left, bottom, right, red, green, blue)
    else:
        hole = (0, 0, 0, 0, red, green, blue)
    if LEVELS == 0:
        _pointwise(source, target, 0, 0.0, height, width, hole)
    else:
        row = sample * LEVELS + level
        code, value = tl.load(operations + row), tl.load(values + row)
        if code == _WARP:
            _warp(source, target, matrices + row * 6, height, width, hole)
        elif code == _EQUALIZE:
            _equalize(source, target, value, height, width, hole, PILLOW)
        elif code == _AUTO_CONTRAST:
            _auto_contrast(source, target, value, height, width, hole)
        elif (code >= _BRIGHTNESS) & (code <= _SHARPNESS):
            _blend(source, target, code, value, height, width, inverse_area, hole)
        elif EXTENDED:
            if code >= _INVERT:
                _more(source, target, code, value, matrices + row * 6, table, height, width, hole)
            else:
                _pointwise(source, target, code, value, height, width, hole)
        else:
            _pointwise(source, target, code, value, height, width, hole)


@triton.jit
def _tile(first, area):
    """Offsets [P, 4] of the channels of pixels from `first` on, which of them exist, and the pixels' numbers [P, 1]."""
    pixels = first + tl.arange(0, _TILE)[:, None]
    channels = tl.arange(0, 4)[None, :]
    return pixels * 3 + channels, (pixels < area) & (channels < 3), pixels


@triton.jit
def _painted(results, y, x, channels, hole):
    """The results, or the hole's color inside of it."""
    top, left, bottom, right, red, green, blue = hole
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    color = tl.where(channels == 0, red, tl.where(channels == 1, green, blue))
    return tl.where(inside, color, results).to(tl.uint8)


@triton.jit
def _store(target, offsets, mask, pixels, width, hole, results):
    """Saves integers 0..255 of a tile."""
    painted = _painted(results, pixels // width, pixels % width, tl.arange(0, 4)[None, :], hole)
    tl.store(target + offsets, painted, mask=mask)


@triton.jit
def _bytes(values):
    return tl.minimum(tl.maximum(tl.floor(values), 0.0), 255.0).to(tl.int32)


@triton.jit
def _away(image, degenerate, factor):
    """Integers -> integers 0..255."""
    return _bytes((image - degenerate).to(tl.float32) * factor + degenerate.to(tl.float32))


@triton.jit
def _half_even(values):
    """Rounds values from 0 on."""
    whole = tl.floor(values)
    rest = values - whole
    odd = whole.to(tl.int32) % 2 == 1
    return whole.to(tl.int32) + ((rest > 0.5) | ((rest == 0.5) & odd)).to(tl.int32)


@triton.jit
def _gray(image):
    """[P, 4], the fourth 0 -> [P, 1]."""
    channels = tl.arange(0, 4)[None, :]
    weights = tl.where(channels == 0, _RED, tl.where(channels == 1, _GREEN, _BLUE))
    return (tl.sum(image * weights, axis=1, keep_dims=True) + 32768) >> 16


@triton.jit
def _blend(source, target, code, factor, height, width, inverse_area, hole):
    area = height * width
    gray = tl.zeros([_TILE, 1], tl.int32)
    for first in range(0, tl.where(code == _CONTRAST, area, 0), _TILE):
        offsets, mask, _ = _tile(first, area)
        gray += _gray(tl.load(source + offsets, mask=mask, other=0).to(tl.int32))
    mean = tl.floor(tl.sum(gray).to(tl.float32) * inverse_area + 0.5)
    for first in range(0, area, _TILE):
        offsets, mask, pixels = _tile(first, area)
        image = tl.load(source + offsets, mask=mask, other=0).to(tl.int32)
        degenerate = tl.zeros([_TILE, 4], tl.int32)
        if code == _COLOR:
            degenerate += _gray(image)
        elif code == _SHARPNESS:
            degenerate += _smooth(source, offsets, mask, pixels, image, height, width)
        else:
            degenerate += mean.to(tl.int32)
        _store(target, offsets, mask, pixels, width, hole, _away(image, degenerate, factor))


@triton.jit
def _smooth(source, offsets, mask, pixels, image, height, width):
    y, x = pixels // width, pixels % width
    inner = mask & (y > 0) & (y < height - 1) & (x > 0) & (x < width - 1)
    total = 4 * image
    for neighbor in tl.static_range(9):
        shift = (neighbor // 3 - 1) * width + neighbor % 3 - 1
        total += tl.load(source + offsets + 3 * shift, mask=inner, other=0).to(tl.int32)
    return tl.where(inner, (2 * total + 13) // 26, image)


@triton.jit
def _pointwise(source, target, code, value, height, width, hole):
    """Posterize, solarize, or nothing."""
    bits = tl.where(code == _POSTERIZE, _half_even(tl.minimum(tl.maximum(value, 0.0), 255.0)), 255)
    threshold = tl.where(code == _SOLARIZE, value, 256.0)
    for first in range(0, height * width, _TILE):
        offsets, mask, pixels = _tile(first, height * width)
        image = tl.load(source + offsets, mask=mask, other=0).to(tl.int32)
        image = tl.where(image.to(tl.float32) >= threshold, 255 - image, image) & bits
        _store(target, offsets, mask, pixels, width, hole, image)


@triton.jit
def _more(source, target, code, value, matrix, table, height, width, hole):
    """The operations from INVERT on."""
    channels = tl.arange(0, 4)[None, :]
    for first in range(0, height * width, _TILE):
        offsets, mask, pixels = _tile(first, height * width)
        image = tl.load(source + offsets, mask=mask, other=0).to(tl.int32)
        results = image
        if code == _INVERT:
            results = _away(image, 255 - image, value)
        elif code == _BLUR:
            results = _away(image, _ring(source, offsets, mask, pixels, image, height, width), value)
        elif code == _HUE:
            results = shifted_hue(image, value)
        elif code == _HOLE:
            own = _rectangle(matrix, hole)
            results = _painted(image, pixels // width, pixels % width, channels, own).to(tl.int32)
        elif code == _RESCALE:
            results = rescaled(source, pixels, mask, value, matrix, table, height, width)
        _store(target, offsets, mask, pixels, width, hole, results)


@triton.jit
def _rectangle(matrix, hole):
    """The hole that an operation's matrix describes, in the color of the last one."""
    top, left = tl.load(matrix).to(tl.int32), tl.load(matrix + 1).to(tl.int32)
    bottom, right = tl.load(matrix + 2).to(tl.int32), tl.load(matrix + 3).to(tl.int32)
    return top, left, bottom, right, hole[4], hole[5], hole[6]


@triton.jit
def _ring(source, offsets, mask, pixels, image, height, width):
    y, x = pixels // width, pixels % width
    inner = mask & (y > 1) & (y < height - 2) & (x > 1) & (x < width - 2)
    total = tl.zeros(mask.shape, tl.int32)
    # As many rows as the compiler cannot tell: unrolled, they would need more registers than there are.
    for row in range(tl.minimum(5, 5 * height)):
        for column in tl.static_range(5):
            on_ring = row * (row - 4) * column * (column - 4) == 0
            shift = 3 * ((row - 2) * width + column - 2)
            total += tl.load(source + offsets + shift, mask=inner & on_ring, other=0).to(tl.int32)
    return tl.where(inner, (total + 8) >> 4, image)


@triton.jit
def _auto_contrast(source, target, value, height, width, hole):
    area = height * width
    lows, highs = tl.full([_TILE, 4], 255, tl.int32), tl.zeros([_TILE, 4], tl.int32)
    for first in range(0, area, _TILE):
        offsets, mask, _ = _tile(first, area)
        lows = tl.minimum(lows, tl.load(source + offsets, mask=mask, other=255).to(tl.int32))
        highs = tl.maximum(highs, tl.load(source + offsets, mask=mask, other=0).to(tl.int32))
    low, high = tl.min(lows, axis=0)[None, :], tl.max(highs, axis=0)[None, :]
    flat = (low == high).to(tl.float64)
    low = low.to(tl.float64)
    scale = 255.0 / (high.to(tl.float64) - low + flat)
    start = low * scale - low * flat
    for first in range(0, area, _TILE):
        offsets, mask, pixels = _tile(first, area)
        image = tl.load(source + offsets, mask=mask, other=0).to(tl.int32)
        stretched = _bytes(image.to(tl.float64) * scale - start)
        _store(target, offsets, mask, pixels, width, hole, _away(image, stretched, value))


@triton.jit
def _equalize(source, target, value, height, width, hole, PILLOW: tl.constexpr):
    area = height * width
    for channel in tl.static_range(3):
        counts = tl.zeros([256], tl.int32)
        for first in range(0, area, _CHANNEL_TILE):
            pixels = first + tl.arange(0, _CHANNEL_TILE)
            image = tl.load(source + pixels * 3 + channel, mask=pixels < area, other=0).to(tl.int32)
            counts += tl.histogram(image, 256, mask=pixels < area)
        table = _pillow_table(counts, area) if PILLOW else _table(counts, area)
        for first in range(0, area, _CHANNEL_TILE):
            pixels = first + tl.arange(0, _CHANNEL_TILE)
            image = tl.load(source + pixels * 3 + channel, mask=pixels < area, other=0).to(tl.int32)
            results = _away(image, tl.gather(table, image, axis=0), value)
            painted = _painted(results, pixels // width, pixels % width, channel, hole)
            tl.store(target + pixels * 3 + channel, painted, mask=pixels < area)


@triton.jit
def _table(counts, area):
    values = tl.arange(0, 256)
    low = tl.min(tl.where(counts > 0, values, 256), axis=0)
    first = tl.sum(tl.where(values == low, counts, 0), axis=0)
    scale = tl.div_rn(255.0, tl.maximum(area - first, 1).to(tl.float32))
    below = tl.maximum(tl.cumsum(counts, axis=0) - first, 0)
    table = tl.minimum(_half_even(below.to(tl.float32) * scale), 255)
    return tl.where(first == area, values, table)


@triton.jit
def _pillow_table(counts, area):
    values = tl.arange(0, 256)
    high = tl.max(tl.where(counts > 0, values, 0), axis=0)
    step = (area - tl.sum(tl.where(values == high, counts, 0), axis=0)) // 255
    below = tl.cumsum(counts, axis=0) - counts
    table = tl.minimum((step // 2 + below) // tl.maximum(step, 1), 255)
    return tl.where(step == 0, values, table)


@triton.jit
def _warp(source, target, matrix, height, width, hole):
    """Source coordinates go from column to column by adding the matrix' first column, each row on its own."""
    step_x, slope_x, offset_x = tl.load(matrix), tl.load(matrix + 1), tl.load(matrix + 2)
    step_y, slope_y, offset_y = tl.load(matrix + 3), tl.load(matrix + 4), tl.load(matrix + 5)
    rows, columns = tl.arange(0, _SIDE)[:, None], tl.arange(0, _SIDE)[None, :]
    for top in range(0, height, _SIDE):
        centers = (top + rows).to(tl.float32) + 0.5
        checkpoint_x = (offset_x + step_x * 0.5) + slope_x * centers
        checkpoint_y = (offset_y + step_y * 0.5) + slope_y * centers
        for start in range(0, width, _CHECKPOINT):
            next_x, next_y = checkpoint_x, checkpoint_y
            for left in range(start, tl.minimum(start + _CHECKPOINT, width), _SIDE):
                x, y = tl.zeros([_SIDE, _SIDE], tl.float32), tl.zeros([_SIDE, _SIDE], tl.float32)
                for column in range(_SIDE):
                    x, y = tl.where(columns == column, next_x, x), tl.where(columns == column, next_y, y)
                    next_x += step_x
                    next_y += step_y
                _sample(source, target, x, y, top + rows, left + columns, height, width, hole)
            checkpoint_x += _CHECKPOINT * step_x
            checkpoint_y += _CHECKPOINT * step_y


@triton.jit
def _sample(source, target, x, y, row, column, height, width, hole):
    """The nearest pixels [R, S] of the source, black outside."""
    within = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    mask = (row < height) & (column < width)
    nearest = tl.where(within, y, 0.0).to(tl.int32) * width + tl.where(within, x, 0.0).to(tl.int32)
    for channel in tl.static_range(3):
        pixels = tl.load(source + nearest * 3 + channel, mask=mask & within, other=0).to(tl.int32)
        painted = _painted(pixels, row, column, channel, hole)
        tl.store(target + (row * width + column) * 3 + channel, painted, mask=mask)
