"""Boxes in images: around random centers, as masks, and filled with their own mean color.

A box is int64 [first row, first column, last row + 1, last column + 1]; equal ends are an empty box.
Shape suffixes: N samples, C channels, H height, W width.
"""

import torch
from torch import Tensor

from semisonic_kernels.images import check_images, described, laid_out_like


def boxes_around(centers_N2: Tensor, heights: Tensor | int, widths: Tensor | int, height: int, width: int) -> Tensor:
    """Boxes of the given heights and widths in pixels, cut where they reach over the image's border: int64 [N, 4].

    centers: uniform in [0, 1), row and column; each pixel is a center equally often. heights, widths: int64 [N], or one
    for all. An odd box has its center in the middle, an even one starts half its side before.
    """
    if centers_N2.dim() != 2 or centers_N2.shape[1] != 2 or not centers_N2.is_floating_point():
        raise ValueError(f"boxes_around: centers must be floating [N, 2], not {described(centers_N2)}")
    ends = []
    for column, (side, whole) in enumerate(((heights, height), (widths, width))):
        # float32 may round the product of a number just below 1 up to the whole.
        center_N = (centers_N2[:, column] * whole).long().clamp(max=whole - 1)
        first_N = center_N - side // 2
        ends.append((first_N.clamp(min=0), (first_N + side).clamp(max=whole)))
    (top_N, bottom_N), (left_N, right_N) = ends
    return torch.stack([top_N, left_N, bottom_N, right_N], 1)


def inside_boxes(boxes_N4: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in each sample's box: bool [N, 1, H, W]."""
    top, left, bottom, right = boxes_N4.view(-1, 1, 1, 4).unbind(-1)
    row = torch.arange(height, device=boxes_N4.device).view(1, -1, 1)
    column = torch.arange(width, device=boxes_N4.device).view(1, 1, -1)
    return ((row >= top) & (row < bottom) & (column >= left) & (column < right)).unsqueeze(1)


def check_boxes(name: str, images: Tensor, boxes_N4: Tensor) -> None:
    if tuple(boxes_N4.shape) != (len(images), 4) or boxes_N4.dtype != torch.int64:
        raise ValueError(f"{name}: boxes must be int64 [{len(images)}, 4], not {described(boxes_N4)}")


def mean_filled_reference(images: Tensor, boxes_N4: Tensor) -> Tensor:
    """`mean_filled`, one sample after the other; reads the boxes on the host."""
    filled = images.clone()
    for image, (top, left, bottom, right) in zip(filled, boxes_N4.tolist(), strict=True):
        if bottom > top and right > left:
            box = image[:, top:bottom, left:right]
            mean = box.to(torch.promote_types(image.dtype, torch.float32)).mean((1, 2), keepdim=True)
            box.copy_(mean if image.is_floating_point() else mean.round())
    return filled


def mean_filled(images: Tensor, boxes_N4: Tensor) -> Tensor:
    """Images whose box holds the mean of each channel over the box (the mosaic of EnAET, arXiv 1911.09265).

    images: uint8 or floating [N, C, H, W]; the result has their dtype and memory layout, bytes are rounded. boxes:
    int64 [N, 4]. Raises ValueError where shapes or dtypes do not fit.
    """
    check_images("mean_filled", images)
    check_boxes("mean_filled", images, boxes_N4)
    inside = inside_boxes(boxes_N4, *images.shape[2:])
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    mean = (wide * inside).sum((2, 3), keepdim=True) / inside.sum((2, 3), keepdim=True).clamp(min=1)
    mean = mean.to(images.dtype) if images.is_floating_point() else mean.round().to(images.dtype)
    return laid_out_like(torch.where(inside, mean, images), images)
