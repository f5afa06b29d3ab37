"""RandAugment's operations and Cutout in plain torch: the definition of the fused kernel, and its path on the CPU.

Pixels are those of Pillow's operations in float32, which truncate and then saturate. Every intermediate value of
grays, smoothed pixels, histograms and sums is an exact integer, so only the order of the few roundings below matters.

Shape suffixes: N samples, L levels, C samples that share an operation, H and W height and width.
"""

import torch
from torch import Tensor

from semisonic_kernels.augment_more import rescale, shift_hue

NONE, WARP, BRIGHTNESS, CONTRAST, COLOR, SHARPNESS, POSTERIZE, SOLARIZE, AUTO_CONTRAST, EQUALIZE = range(10)
INVERT, BLUR, HUE, HOLE, RESCALE = range(10, 15)
"""Codes of the operations.

WARP: nearest neighbor, black outside; reads the matrix, which maps output to input (x, y), pixel centers at halves.
BRIGHTNESS, CONTRAST, COLOR, SHARPNESS: the value is the factor, 1 = unchanged. POSTERIZE: the value is the bit mask.
SOLARIZE: inverts pixels from the value on. AUTO_CONTRAST, EQUALIZE, each channel on its own, and INVERT and BLUR (the
ring of 16 pixels around a 3x3 square): the value is the factor away from the result, 0 = the whole effect, 1 =
unchanged. HUE: the value is the shift in turns. HOLE: the matrix holds first row, first column, last row + 1, last
column + 1 of a hole. RESCALE: the value is the number of the filter, see augment_more.py; of the matrix, scales and
offsets are read. The codes from INVERT on want `extended=True`.
"""

GRAY = (19595, 38470, 7471)
"""Weights of red, green and blue in a gray value, in 65536ths."""
CHECKPOINT = 256
"""Columns of a warp after which the sum of steps starts anew, so that its rounding error stays small."""


def augment_pixels(
    images_NHW3: Tensor,
    operations_NL: Tensor,
    values_NL: Tensor,
    matrices_NL23: Tensor,
    holes_N4: Tensor | None,
    fill: tuple[int, int, int],
    pillow_equalize: bool,
) -> Tensor:
    """`augment` after its checks, on any device; elsewhere than on the CPU it waits for the device."""
    pixels = images_NHW3.contiguous()
    for level in range(operations_NL.shape[1]):
        own = (operations_NL[:, level], values_NL[:, level], matrices_NL23[:, level])
        pixels = _level(pixels, *own, fill, pillow_equalize)
    if holes_N4 is not None:
        return _cut_out(pixels, holes_N4, fill)
    return pixels.clone() if pixels.data_ptr() == images_NHW3.data_ptr() else pixels


def _level(
    pixels_NHW3: Tensor,
    codes_N: Tensor,
    values_N: Tensor,
    matrices_N23: Tensor,
    fill: tuple[int, int, int],
    pillow_equalize: bool,
) -> Tensor:
    """Samples sorted by their operation, one operation after the other, and back."""
    codes_N, order_N = codes_N.sort(stable=True)
    counts = torch.bincount(codes_N, minlength=RESCALE + 1).tolist()
    if counts[NONE] == len(codes_N):
        return pixels_NHW3
    groups = pixels_NHW3.index_select(0, order_N).split(counts)
    values = values_N.index_select(0, order_N).split(counts)
    matrices = matrices_N23.index_select(0, order_N).split(counts)
    parts = []
    for code, pixels in enumerate(groups):
        if len(pixels) and code == WARP:
            pixels = _warp(pixels, matrices[code])
        elif len(pixels) and code in (AUTO_CONTRAST, EQUALIZE):
            changed, share = _through_tables(pixels, code, pillow_equalize), values[code]
            pixels = _blend(pixels, changed, share.view(-1, 1, 1, 1)) if share.any() else changed
        elif len(pixels) and code == HOLE:
            pixels = _cut_out(pixels, matrices[code].flatten(1)[:, :4].int(), fill)
        elif len(pixels) and code == RESCALE:
            pixels = rescale(pixels, values[code], matrices[code])
        elif len(pixels) and code != NONE:
            pixels = POINTWISE[code](pixels, values[code].view(-1, 1, 1, 1))
        parts.append(pixels)
    back_N = torch.empty_like(order_N).scatter_(0, order_N, torch.arange(len(order_N), device=order_N.device))
    return torch.cat(parts).index_select(0, back_N)


# --- blends -----------------------------------------------------------------------------------------------


def _blend(pixels: Tensor, degenerate: Tensor | None, factor: Tensor) -> Tensor:
    """floor((pixels - degenerate) * factor + degenerate), saturated; a degenerate of None is black."""
    if degenerate is None:
        return _bytes(pixels.float().mul_(factor))
    degenerate = degenerate.float()
    return _bytes((pixels - degenerate).mul_(factor).add_(degenerate))


def _bytes(values: Tensor) -> Tensor:
    return values.floor_().clamp_(0, 255).to(torch.uint8)


def _brightness(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    return _blend(pixels_CHW3, None, factor)


def _gray(pixels_CHW3: Tensor) -> Tensor:
    """int32 [C, H, W, 1], halves rounded up."""
    red, green, blue = (pixels_CHW3[..., channel : channel + 1].int() for channel in range(3))
    return (red.mul_(GRAY[0]).add_(green, alpha=GRAY[1]).add_(blue, alpha=GRAY[2]).add_(1 << 15)) >> 16


def _contrast(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean gray, rounded. Above 65,793 pixels DALI's own sum is inexact, and pixels may differ by 1."""
    total = _gray(pixels_CHW3).sum(dim=(1, 2), keepdim=True).float()
    mean = total * total.new_full((), 1 / pixels_CHW3[0, ..., 0].numel())
    return _blend(pixels_CHW3, (mean + 0.5).floor(), factor)


def _color(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    return _blend(pixels_CHW3, _gray(pixels_CHW3), factor)


def _sharpness(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    """Away from a smoothed image, (sum of the 8 neighbors + 5 * the pixel) / 13; the border stays as it is."""
    if min(pixels_CHW3.shape[1:3]) < 3:
        return pixels_CHW3
    pixels = pixels_CHW3.to(torch.int16)
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inside = pixels[:, 1:-1, 1:-1]
    # No sum lies halfway between two multiples of 13, so an inexact 1/13 cannot change the rounding.
    smooth = total.add_(inside, alpha=4).float().mul_(1 / 13).add_(0.5).floor_()
    result = pixels_CHW3.clone()
    result[:, 1:-1, 1:-1] = _blend(inside, smooth, factor)
    return result


def _invert(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    return _blend(pixels_CHW3, 255 - pixels_CHW3, factor)


def _blur(pixels_CHW3: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean of the ring of 16 pixels around each 3x3 square; a border of two pixels stays as it is."""
    height, width = pixels_CHW3.shape[1:3]
    if min(height, width) < 5:
        return pixels_CHW3
    pixels = pixels_CHW3.to(torch.int16)

    def square(side: int) -> Tensor:
        start = 2 - side // 2
        moved = [slice(start + k, start + k - 4 + size) for k in range(side) for size in (height, width)]
        rows = torch.stack([pixels[:, rows] for rows in moved[::2]]).sum(0)
        return torch.stack([rows[:, :, columns] for columns in moved[1::2]]).sum(0)

    result = pixels_CHW3.clone()
    ring = (square(5) - square(3) + 8) >> 4
    result[:, 2:-2, 2:-2] = _blend(pixels[:, 2:-2, 2:-2], ring, factor)
    return result


def _posterize(pixels_CHW3: Tensor, mask: Tensor) -> Tensor:
    return pixels_CHW3 & mask.round().clamp(0, 255).to(torch.uint8)


def _solarize(pixels_CHW3: Tensor, threshold: Tensor) -> Tensor:
    # A threshold between two bytes works like the upper one; 256 inverts nothing.
    first = threshold.ceil().clamp(0, 256).to(torch.int16)
    return pixels_CHW3 ^ (pixels_CHW3 >= first).to(torch.uint8).mul_(255)


POINTWISE = {
    BRIGHTNESS: _brightness,
    CONTRAST: _contrast,
    COLOR: _color,
    SHARPNESS: _sharpness,
    POSTERIZE: _posterize,
    SOLARIZE: _solarize,
    INVERT: _invert,
    BLUR: _blur,
    HUE: shift_hue,
}
"""Operations on uint8 pixels [C, H, W, 3] and their values, float32 [C, 1, 1, 1]; also inside a compiled graph."""


# --- tables -----------------------------------------------------------------------------------------------


def _through_tables(pixels_CHW3: Tensor, code: int, pillow_equalize: bool) -> Tensor:
    """Every channel of every image through a table of its own."""
    count = len(pixels_CHW3) * 3
    first = torch.arange(0, count * 256, 256, dtype=torch.int32, device=pixels_CHW3.device)
    keys = (pixels_CHW3.int() + first.view(-1, 1, 1, 3)).flatten()
    counts_T256 = torch.bincount(keys, minlength=count * 256).view(count, 256)
    if code == AUTO_CONTRAST:
        tables_T256 = _stretching(counts_T256)
    elif pillow_equalize:
        tables_T256 = _equalizing_pillow(counts_T256)
    else:
        tables_T256 = _equalizing(counts_T256)
    return tables_T256.to(torch.uint8).flatten().index_select(0, keys).view_as(pixels_CHW3)


def _ends(counts_T256: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value that occurs, [T, 1] each."""
    present = (counts_T256 > 0).to(torch.uint8)
    return present.argmax(1, keepdim=True), 255 - present.flip(1).argmax(1, keepdim=True)


def _stretching(counts_T256: Tensor) -> Tensor:
    """lowest..highest -> 0..255, in double precision; a flat channel stays as it is."""
    low, high = (end.double() for end in _ends(counts_T256))
    flat = (low == high).double()
    scale = torch.full_like(low, 255).div_(high - low + flat)  # 255 / tensor would multiply by a reciprocal
    values = torch.arange(256, dtype=torch.float64, device=counts_T256.device)
    return (values * scale - (low * scale - low * flat)).floor_().clamp_(0, 255)


def _equalizing(counts_T256: Tensor) -> Tensor:
    """OpenCV's formula: 255 / (n - first) * (cumulative count - first), rounded, halves to even."""
    first = counts_T256.gather(1, _ends(counts_T256)[0])
    others = counts_T256.sum(1, keepdim=True) - first
    scale = torch.full_like(others, 255, dtype=torch.float32).div_(others.clamp(min=1))
    table = ((counts_T256.cumsum(1) - first).float() * scale).round_().clamp_(0, 255)
    return torch.where(others == 0, torch.arange(256.0, device=table.device), table)


def _equalizing_pillow(counts_T256: Tensor) -> Tensor:
    """Pillow's formula: (step // 2 + count below) // step, where step = (n - count of the highest) // 255."""
    last = counts_T256.gather(1, _ends(counts_T256)[1])
    step = (counts_T256.sum(1, keepdim=True) - last) // 255
    below = counts_T256.cumsum(1) - counts_T256
    table = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255)
    return torch.where(step == 0, torch.arange(256, device=table.device), table)


# --- geometry ---------------------------------------------------------------------------------------------


def _warp(pixels_CHW3: Tensor, matrices_C23: Tensor) -> Tensor:
    count, height, width, _ = pixels_CHW3.shape
    framed = pixels_CHW3.new_zeros(count, height + 2, width + 2, 3)
    framed[:, 1:-1, 1:-1] = pixels_CHW3
    points = framed.view(-1, 3)
    dtype = torch.int32 if len(points) < 2**31 else torch.int64
    # Whatever lies outside falls into the black frame.
    x_WCH, y_WCH = _sources(matrices_C23, height, width).unbind(1)
    x_WCH, y_WCH = (c.clamp_(-1, size).floor_().to(dtype) for c, size in ((x_WCH, width), (y_WCH, height)))
    area = (height + 2) * (width + 2)
    first_C1 = torch.arange(width + 3, width + 3 + count * area, area, dtype=dtype, device=points.device).view(-1, 1)
    index_WCH = y_WCH.mul_(width + 2).add_(x_WCH).add_(first_C1)
    return points.index_select(0, index_WCH.permute(1, 2, 0).flatten()).view_as(pixels_CHW3)


def _sources(matrices_C23: Tensor, height: int, width: int) -> Tensor:
    """Input coordinates (x, y) of every output pixel, [W, 2, C, H].

    From one column to the next by adding the matrix' first, as DALI's CPU operator does: the roundings add up, which
    decides about coordinates on the border of two pixels.
    """
    step, slope, offset = matrices_C23.permute(2, 1, 0).unsqueeze(-1)  # [2, C, 1] each
    centers = torch.arange(height, dtype=torch.float32, device=matrices_C23.device) + 0.5
    checkpoint = (offset + step * 0.5) + slope * centers
    sources = checkpoint.new_empty(width, *checkpoint.shape)
    for column in range(width):
        if column % CHECKPOINT == 0:
            sources[column] = checkpoint
            checkpoint = checkpoint + CHECKPOINT * step
        else:
            torch.add(sources[column - 1], step, out=sources[column])
    return sources


# --- Cutout -----------------------------------------------------------------------------------------------


def _cut_out(pixels_NHW3: Tensor, holes_N4: Tensor, fill: tuple[int, int, int]) -> Tensor:
    height, width = pixels_NHW3.shape[1:3]
    top, left, bottom, right = holes_N4.view(-1, 4, 1).unbind(1)
    y, x = (torch.arange(size, dtype=torch.int32, device=holes_N4.device) for size in (height, width))
    # As bytes of 0 or 255 in rows of 3 W, since broadcasting over three channels is slow.
    rows_NH1 = ((y >= top) & (y < bottom)).to(torch.uint8).mul_(255).unsqueeze(2)
    columns_N1W = ((x >= left) & (x < right)).to(torch.uint8).mul_(255).unsqueeze(1)
    hole = rows_NH1 & columns_N1W.repeat_interleave(3, dim=2)
    color = torch.tensor(fill, dtype=torch.uint8, device=hole.device).repeat(width)
    pixels = pixels_NHW3.flatten(2)
    return (pixels ^ ((pixels ^ color) & hole)).view_as(pixels_NHW3)
