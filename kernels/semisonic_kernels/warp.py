"""Projective warps of a batch of images, bilinear, and the matrices of rotations, shears and moved corners.

Matrices map homogeneous output coordinates (x, y, 1) in pixels to input ones; the corners of an image are at 0 and at
its width and height, the centers of pixels at halves.
Shape suffixes: N samples, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from semisonic_kernels.fuse import fused
from semisonic_kernels.images import check_images, described, laid_out_like


def _positions(matrices_N33: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where each output pixel comes from, x and y [N, H, W], and whether that is in the image; elsewhere x = y = 0."""
    column, row = (torch.arange(n, device=matrices_N33.device, dtype=matrices_N33.dtype) for n in (width, height))
    x, y = column + 0.5, (row + 0.5).view(-1, 1)
    rows = matrices_N33.view(-1, 3, 3, 1, 1)
    across, down, depth = (rows[:, k, 0] * x + rows[:, k, 1] * y + rows[:, k, 2] for k in range(3))
    before = depth > 1e-6  # behind it lies the horizon
    depth = torch.where(before, depth, 1)
    x, y = across / depth, down / depth
    inside = before & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside, x, 0), torch.where(inside, y, 0), inside


def warp_reference(images: Tensor, matrices_N33: Tensor, fill_C: Tensor) -> Tensor:
    """`warp` by torch's grid_sample."""
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    height, width = images.shape[2:]
    x, y, inside = _positions(matrices_N33.to(wide.dtype), height, width)
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)
    warped = F.grid_sample(wide, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _finished(warped, inside, fill_C, images)


def _finished(warped: Tensor, inside: Tensor, fill_C: Tensor, images: Tensor) -> Tensor:
    warped = torch.where(inside.unsqueeze(1), warped, fill_C.to(warped.dtype).view(1, -1, 1, 1))
    return laid_out_like((warped if images.is_floating_point() else warped.round()).to(images.dtype), images)


def _check(images: Tensor, matrices_N33: Tensor, fill_C: Tensor) -> None:
    check_images("warp", images)
    if tuple(matrices_N33.shape) != (len(images), 3, 3) or not matrices_N33.is_floating_point():
        raise ValueError(f"warp: matrices must be floating [{len(images)}, 3, 3], not {described(matrices_N33)}")
    if tuple(fill_C.shape) != (images.shape[1],) or not fill_C.is_floating_point():
        raise ValueError(f"warp: fill must be floating [{images.shape[1]}], not {described(fill_C)}")


@fused(warp_reference, _check)
def warp(images: Tensor, matrices_N33: Tensor, fill_C: Tensor) -> Tensor:
    """Images seen through homographies, interpolated between the four nearest pixels.

    images: uint8 or floating [N, C, H, W]; the result has their shape, dtype and memory layout, bytes are rounded.
    matrices: floating [N, 3, 3], output to input coordinates; see the module. fill: floating [C], what is painted where
    an output pixel comes from outside the image or from behind the horizon; within half a pixel of its border the image
    continues as its border. Computed in float32, for float64 in float64. The gradient goes to floating images and to
    matrices. Raises ValueError where shapes or dtypes do not fit.
    """
    wide = torch.promote_types(images.dtype, torch.float32)
    height, width = images.shape[2:]
    x, y, inside = _positions(matrices_N33.to(wide), height, width)
    left, top = (x.detach() - 0.5).floor(), (y.detach() - 0.5).floor()
    right_weight, lower_weight = (x - 0.5 - left).unsqueeze(1), (y - 0.5 - top).unsqueeze(1)
    pixels = images.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        position = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        position = position.long().view(-1, 1, height * width).expand(-1, pixels.shape[1], -1)
        return pixels.gather(2, position).view(images.shape).to(wide)

    upper = torch.lerp(at(top, left), at(top, left + 1), right_weight)
    lower = torch.lerp(at(top + 1, left), at(top + 1, left + 1), right_weight)
    return _finished(torch.lerp(upper, lower, lower_weight), inside, fill_C, images)


def affine_matrices(
    angle_N: Tensor, move_N2: Tensor, scale_N: Tensor, shear_N: Tensor, height: int, width: int
) -> Tensor:
    """Matrices [N, 3, 3] for `warp` that turn, shear, scale and move images, about their center.

    angle, shear: radians; move: pixels, x and y; scale: factor. An image point p goes to
    center + move + scale [[cos a, -sin(a + s)], [sin a, cos(a + s)]] (p - center), whose inverse this is.
    """
    sheared_N = angle_N + shear_N
    shrink_N = 1 / (scale_N * shear_N.cos())
    a_N, b_N = sheared_N.cos() * shrink_N, sheared_N.sin() * shrink_N
    d_N, e_N = -angle_N.sin() * shrink_N, angle_N.cos() * shrink_N
    x_N, y_N = width / 2 + move_N2[:, 0], height / 2 + move_N2[:, 1]
    c_N, f_N = width / 2 - a_N * x_N - b_N * y_N, height / 2 - d_N * x_N - e_N * y_N
    zero, one = torch.zeros_like(a_N), torch.ones_like(a_N)
    return torch.stack([a_N, b_N, c_N, d_N, e_N, f_N, zero, zero, one], 1).view(-1, 3, 3)


def corner_matrices(corners_N42: Tensor, height: int, width: int) -> Tensor:
    """Matrices [N, 3, 3] for `warp` that move an image's corners to the given points; the last entry is 1.

    corners: x and y in pixels of upper left, upper right, lower right and lower left [N, 4, 2]; they must
    form a convex quadrilateral. In closed form: Heckbert's map of the unit square, inverted by cofactors.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (corners_N42[:, k].unbind(1) for k in range(4))
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    sum_x, sum_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (sum_x * dy2 - dx2 * sum_y) / area, (dx1 * sum_y - sum_x * dy1) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    inverse_9N = [
        width * (e - f * h), width * (c * h - b), width * (b * f - c * e),
        height * (f * g - d), height * (a - c * g), height * (c * d - a * f),
        d * h - e * g, b * g - a * h, a * e - b * d,
    ]  # fmt: skip
    matrices_N9 = torch.stack(inverse_9N, 1)
    return (matrices_N9 / matrices_N9[:, 8:]).view(-1, 3, 3)
