"""Mixup (Zhang et al., arXiv 1710.09412): convex combinations of images and of their targets, in one pass."""

import torch
from torch import Tensor

from semisonic_kernels.fuse import fused
from semisonic_kernels.images import channel_row, described, from_rows, in_rows, laid_out_like


def mixup_reference(
    images: Tensor,
    targets_NC: Tensor,
    partner_N: Tensor,
    lam_N: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    dominant: bool = False,
) -> tuple[Tensor, Tensor]:
    """`mixup` step by step: normalize, permute, mix."""
    lam_N = torch.maximum(lam_N, 1 - lam_N) if dominant else lam_N
    x = images.to(torch.promote_types(_image_dtype(images, mean), torch.float32))
    if mean is not None and scale is not None:
        x = (x - mean.to(x.dtype).view(1, -1, 1, 1)) * scale.to(x.dtype).view(1, -1, 1, 1)
    y = targets_NC.to(torch.promote_types(targets_NC.dtype, torch.float32))
    lam_x, lam_y = lam_N.to(x.dtype).view(-1, 1, 1, 1), lam_N.to(y.dtype).view(-1, 1)
    x = lam_x * x + (1 - lam_x) * x[partner_N]
    y = lam_y * y + (1 - lam_y) * y[partner_N]
    return laid_out_like(x.to(_image_dtype(images, mean)), images), y.to(targets_NC.dtype)


def _check(
    images: Tensor,
    targets_NC: Tensor,
    partner_N: Tensor,
    lam_N: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    dominant: bool = False,
) -> None:
    if images.dim() != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(f"mixup: images must be uint8 or floating [N, C, H, W], not {described(images)}")
    count, channels = images.shape[:2]
    if targets_NC.dim() != 2 or len(targets_NC) != count or not targets_NC.is_floating_point():
        raise ValueError(f"mixup: targets must be probabilities, floating [{count}, C], not {described(targets_NC)}")
    if tuple(partner_N.shape) != (count,) or partner_N.dtype != torch.int64:
        raise ValueError(f"mixup: partner must be int64 [{count}], not {described(partner_N)}")
    if tuple(lam_N.shape) != (count,) or not lam_N.is_floating_point():
        raise ValueError(f"mixup: lam must be floating [{count}], not {described(lam_N)}")
    if (mean is None) != (scale is None):
        raise ValueError("mixup: give both of mean and scale, or neither")
    for name, value in (("mean", mean), ("scale", scale)):
        if value is not None and not (
            value.is_floating_point() and tuple(value.shape) in ((channels,), (1, channels, 1, 1))
        ):
            raise ValueError(
                f"mixup: {name} must be floating [{channels}] or [1, {channels}, 1, 1], not {described(value)}"
            )


def mixup_in_place(
    images: Tensor,
    targets_NC: Tensor,
    partner_N: Tensor,
    lam_N: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    dominant: bool = False,
) -> tuple[Tensor, Tensor]:
    """`mixup_reference` to the bit, without a compiler: rows of memory, in place where they are not the caller's."""
    if torch.is_grad_enabled() and any(value.requires_grad for value in (images, targets_NC, lam_N)):
        return mixup_reference(images, targets_NC, partner_N, lam_N, mean, scale, dominant)
    lam_N1 = (torch.maximum(lam_N, 1 - lam_N) if dominant else lam_N).view(-1, 1)
    y_NC = _mixed(targets_NC.to(torch.promote_types(targets_NC.dtype, torch.float32)), partner_N, lam_N1)
    x = laid_out_like(images.to(torch.promote_types(_image_dtype(images, mean), torch.float32)), images)
    rows = in_rows(x)
    if mean is not None and scale is not None:
        mean_row, scale_row = channel_row(mean.to(x.dtype), x), channel_row(scale.to(x.dtype), x)
        rows = (rows - mean_row if x is images else rows.sub_(mean_row)).mul_(scale_row)
    rows = _mixed(rows, partner_N, lam_N1)
    return from_rows(rows, x).to(_image_dtype(images, mean)), y_NC.to(targets_NC.dtype)


def _mixed(rows: Tensor, partner_N: Tensor, lam_N1: Tensor) -> Tensor:
    """lam * row + (1 - lam) * row[partner]; a `lerp` would round otherwise than the reference does."""
    lam_N1 = lam_N1.to(rows.dtype)
    return rows.index_select(0, partner_N).mul_(1 - lam_N1).add_(rows * lam_N1)


@fused(mixup_reference, _check, mixup_in_place)
def mixup(
    images: Tensor,
    targets_NC: Tensor,
    partner_N: Tensor,
    lam_N: Tensor,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    dominant: bool = False,
) -> tuple[Tensor, Tensor]:
    """lam * x + (1 - lam) * x[partner] of images and, with the same lam and partners, of targets.

    images: uint8 or floating [N, C, H, W]; the mixed ones have their shape and memory layout, and their dtype, for
    uint8 float32 or that of `mean` if it is wider. targets: probabilities, floating [N, K]; the mixed ones have their
    dtype. partner: positions 0..N-1 in the batch, int64 [N], usually a permutation: of others, CUDA adds up gradients
    in no fixed order. lam: floating [N], 0..1.
    mean, scale: floating [C] or [1, C, 1, 1]; with them, images are normalized as (x - mean) * scale in the same pass.
    dominant: max(lam, 1 - lam) in place of lam, so that an image outweighs its partner (MixMatch, arXiv 1905.02249).

    Computed in float32, for float64 in float64. The gradient goes to floating images, targets and lam. Raises
    ValueError where shapes or dtypes do not fit.
    """
    lam_N = torch.maximum(lam_N, 1 - lam_N) if dominant else lam_N
    x = images.to(torch.promote_types(_image_dtype(images, mean), torch.float32))
    y = targets_NC.to(torch.promote_types(targets_NC.dtype, torch.float32))
    # Weights that sum to 1 commute with the normalization, which is then done once.
    x = torch.lerp(x.index_select(0, partner_N), x, lam_N.to(x.dtype).view(-1, 1, 1, 1))
    y = torch.lerp(y.index_select(0, partner_N), y, lam_N.to(y.dtype).view(-1, 1))
    if mean is not None and scale is not None:
        x = (x - mean.to(x.dtype).view(1, -1, 1, 1)) * scale.to(x.dtype).view(1, -1, 1, 1)
    return laid_out_like(x.to(_image_dtype(images, mean)), images), y.to(targets_NC.dtype)


def _image_dtype(images: Tensor, mean: Tensor | None) -> torch.dtype:
    if images.is_floating_point():
        return images.dtype
    return torch.float32 if mean is None else torch.promote_types(mean.dtype, torch.float32)
