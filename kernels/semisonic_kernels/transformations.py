"""EnAET's transformations (arXiv 1911.09265) from uniform numbers, and their parameters as a decoder is to find them.

Uniforms of 1/2 give the identity (for `projective`, with a last one below 1/4). All is computed in float64, so that
what a sample gets does not depend on the batch around it.
Shape suffixes: N samples.
"""

import math

import torch
from torch import Tensor

from semisonic_kernels.warp import affine_matrices, corner_matrices

PROJECTIVE, AFFINE, ENHANCEMENT = 10, 5, 4
"""Uniforms that a sample needs."""


def projective(uniforms_N10: Tensor, size: int, shift: float, scale: float, turns: bool) -> tuple[Tensor, Tensor]:
    """Corners moved by up to shift * size pixels, after scaling by 1 +- scale and, with `turns`, some quarter turns.

    Returns matrices for `warp` [N, 3, 3], float64, of images of size x size pixels, and their coefficients [N, 8], of
    which those of 32 px are (h - (0, 0, 16, 0, 0, 16, 0, 0)) / (1, 1, 20, 1, 1, 20, .015, .015); others are brought to
    that size.
    """
    u = uniforms_N10.double()
    shift_N42 = (2 * u[:, :8] - 1).view(-1, 4, 2) * (shift * size)
    scale_N11 = 1 + scale * (2 * u[:, 8] - 1).view(-1, 1, 1)
    turn_N1 = (4 * u[:, 9:]).long() * int(turns)
    corner_N4 = (torch.arange(4, device=u.device) + turn_N1) % 4  # upper left, upper right, lower right, lower left
    signs_N42 = torch.stack([(corner_N4 == 1) | (corner_N4 == 2), corner_N4 >= 2], 2).to(u.dtype) - 0.5
    matrices = corner_matrices(size / 2 + scale_N11 * size * signs_N42 + shift_N42, size, size)
    a, b, c, d, e, f, g, h, _ = matrices.flatten(1).unbind(1)
    middle, spread, tilt = size / 2, size * 20 / 32, 0.015 * 32 / size
    parameters = [a, b, (c - middle) / spread, d, e, (f - middle) / spread, g / tilt, h / tilt]
    return matrices, torch.stack(parameters, 1)


def affine_family(
    uniforms_N5: Tensor, size: int, degrees: float, translate: float, scale: float, shear: float
) -> list[tuple[Tensor, Tensor]]:
    """An affine transformation, and with the same draw a similarity (no shear) and a Euclidean one (no scaling either).

    Turned by up to +-degrees, moved by up to translate * size pixels, scaled by 1 +- scale, sheared by up to +-shear
    degrees. Each with its matrices for `warp` [N, 3, 3], float64, and its parameters [N, 6], [N, 5] and [N, 4]: cosine
    and sine of the angle, and translations, scale and shear as shares -1..1 of their ranges.
    """
    u = uniforms_N5.double()
    angle, move_x, move_y, scaled, sheared = (2 * u - 1).unbind(1)
    turned = angle * math.radians(degrees)
    parameters = torch.stack([turned.cos(), turned.sin(), move_x, move_y, scaled, sheared], 1)
    moved = torch.stack([move_x, move_y], 1) * (translate * size)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    family = [(1 + scale * scaled, math.radians(shear) * sheared), (1 + scale * scaled, zero), (one, zero)]
    return [
        (affine_matrices(turned, moved, factor, slant, size, size), parameters[:, : 6 - k])
        for k, (factor, slant) in enumerate(family)
    ]


def enhancement(uniforms_N4: Tensor, spread: float) -> Tensor:
    """Factors for `enhance`, uniform in 1 +- spread: float64 [N, 4]; they are their own parameters."""
    return 1 + spread * (2 * uniforms_N4.double() - 1)
