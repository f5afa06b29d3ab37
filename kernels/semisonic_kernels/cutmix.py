"""CutMix (Yun et al., arXiv 1905.04899): a box of the partner pasted into each image, targets mixed by its area."""

import torch
from torch import Tensor

from semisonic_kernels.boxes import boxes_around, check_boxes, inside_boxes
from semisonic_kernels.fuse import fused
from semisonic_kernels.images import check_images, described, laid_out_like


def cutmix_boxes(lam_N: Tensor, centers_N2: Tensor, height: int, width: int) -> Tensor:
    """Boxes that cover about 1 - lam of an image: int64 [N, 4], first row and column, last row and column + 1.

    lam: floating [N], 0..1. centers: uniform in [0, 1), [N, 2], row and column. The sides are those of the image times
    sqrt(1 - lam), rounded down, and the box is cut at the image's border, so that its area decides about the targets.
    """
    if lam_N.dim() != 1 or not lam_N.is_floating_point():
        raise ValueError(f"cutmix_boxes: lam must be floating [N], not {described(lam_N)}")
    share_N = (1 - lam_N).clamp(min=0).sqrt()
    return boxes_around(centers_N2, (height * share_N).long(), (width * share_N).long(), height, width)


def cutmix_reference(images: Tensor, targets_NC: Tensor, partner_N: Tensor, boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """`cutmix` by masks: targets are mixed by the share of pixels that were pasted."""
    inside = inside_boxes(boxes_N4, *images.shape[2:])
    y = targets_NC.to(torch.promote_types(targets_NC.dtype, torch.float32))
    pasted = inside.to(y.dtype).mean((1, 2, 3)).unsqueeze(1)
    y = (1 - pasted) * y + pasted * y[partner_N]
    return laid_out_like(torch.where(inside, images[partner_N], images), images), y.to(targets_NC.dtype)


def _check(images: Tensor, targets_NC: Tensor, partner_N: Tensor, boxes_N4: Tensor) -> None:
    check_images("cutmix", images)
    count = len(images)
    if targets_NC.dim() != 2 or len(targets_NC) != count or not targets_NC.is_floating_point():
        raise ValueError(f"cutmix: targets must be probabilities, floating [{count}, C], not {described(targets_NC)}")
    if tuple(partner_N.shape) != (count,) or partner_N.dtype != torch.int64:
        raise ValueError(f"cutmix: partner must be int64 [{count}], not {described(partner_N)}")
    check_boxes("cutmix", images, boxes_N4)


@fused(cutmix_reference, _check)
def cutmix(images: Tensor, targets_NC: Tensor, partner_N: Tensor, boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """Images with the partner's pixels inside the box, and the targets in the proportion of pixels.

    images: uint8 or floating [N, C, H, W]; the new ones have their shape, dtype and memory layout. targets:
    probabilities, floating [N, K]; partner: positions 0..N-1 in the batch, int64 [N]; boxes: int64 [N, 4] inside the
    image, as `cutmix_boxes` makes them. With share = area of the box / (H W), targets are
    (1 - share) * y + share * y[partner]. The gradient goes to floating images and to targets. Raises ValueError where
    shapes or dtypes do not fit.
    """
    y = targets_NC.to(torch.promote_types(targets_NC.dtype, torch.float32))
    top_N, left_N, bottom_N, right_N = boxes_N4.unbind(1)
    area_N = (bottom_N - top_N).clamp(min=0) * (right_N - left_N).clamp(min=0)
    pasted = (area_N.to(y.dtype) / (images.shape[2] * images.shape[3])).unsqueeze(1)
    y = (1 - pasted) * y + pasted * y.index_select(0, partner_N)
    inside = inside_boxes(boxes_N4, *images.shape[2:])
    pixels = torch.where(inside, images.index_select(0, partner_N), images)
    return laid_out_like(pixels, images), y.to(targets_NC.dtype)
