"""RandAugment's operations (Cubuk et al., arXiv 1909.13719) and Cutout (arXiv 1708.04552) on a batch of images."""

import torch
from torch import Tensor

from semisonic_kernels.augment_reference import (
    AUTO_CONTRAST,
    BLUR,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    EQUALIZE,
    HOLE,
    HUE,
    INVERT,
    NONE,
    POSTERIZE,
    RESCALE,
    SHARPNESS,
    SOLARIZE,
    WARP,
    augment_pixels,
)

__all__ = [
    "AUTO_CONTRAST",
    "BLUR",
    "BRIGHTNESS",
    "COLOR",
    "CONTRAST",
    "EQUALIZE",
    "HOLE",
    "HUE",
    "INVERT",
    "NONE",
    "POSTERIZE",
    "RESCALE",
    "SHARPNESS",
    "SOLARIZE",
    "WARP",
    "augment",
    "augment_reference",
]


def augment(
    images: Tensor,
    operations: Tensor,
    values: Tensor,
    matrices: Tensor,
    holes: Tensor | None,
    fill: tuple[int, int, int],
    equalize: str = "dali",
    extended: bool = False,
) -> Tensor:
    """L operations on each image, one after the other, and then a hole: uint8 [N, H, W, 3], a new tensor.

    images: uint8 RGB [N, H, W, 3]. operations: int32 [N, L], codes of this module. values: float32 [N, L] and
    matrices: float32 [N, L, 2, 3], what the operations read; see the codes. holes: int32 [N, 4], first row, first
    column, last row + 1, last column + 1, painted in the color `fill` (0..255); None: no holes. equalize: "dali" for
    OpenCV's formula, "pil" for Pillow's, whose integer steps saturate. extended: whether codes from INVERT on may
    occur; on CUDA they need a kernel of their own, with more registers, and are ignored by the other.

    The pixels are the same on both devices. On CUDA, one launch of a Triton kernel per level, nothing that waits for
    the device, and a code that is none leaves the image as it is. On the CPU, `augment_reference`. Raises ValueError
    where shapes, dtypes or devices do not fit and, on the CPU, for values out of range.
    """
    if not images.is_cuda:
        return augment_reference(images, operations, values, matrices, holes, fill, equalize, extended)
    _check(images, operations, values, matrices, holes, fill, equalize)
    from semisonic_kernels.augment_triton import augment_launch  # Triton takes long to import

    return augment_launch(images, operations, values, matrices, holes, fill, equalize == "pil", extended)


def augment_reference(
    images: Tensor,
    operations: Tensor,
    values: Tensor,
    matrices: Tensor,
    holes: Tensor | None,
    fill: tuple[int, int, int],
    equalize: str = "dali",
    extended: bool = False,
) -> Tensor:
    """`augment` in plain torch, one group of samples with the same operation after the other."""
    _check(images, operations, values, matrices, holes, fill, equalize)
    last = RESCALE if extended else EQUALIZE
    if operations.numel() and not (operations.min() >= NONE and operations.max() <= last):
        raise ValueError(f"augment: operations must be codes {NONE}..{last}")
    if not (values.isfinite().all() and matrices.isfinite().all()):
        raise ValueError("augment: values and matrices must be finite")
    return augment_pixels(images, operations, values, matrices, holes, fill, equalize == "pil")


def _check(
    images: Tensor,
    operations: Tensor,
    values: Tensor,
    matrices: Tensor,
    holes: Tensor | None,
    fill: tuple[int, int, int],
    equalize: str,
) -> None:
    """Reads no value of a tensor."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
        raise ValueError(f"augment: images must be uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
    if images.shape[1] * images.shape[2] > 2**23:
        raise ValueError(f"augment: images of {list(images.shape[1:3])} are too large; at most 2^23 pixels each")
    count, levels = len(images), operations.shape[-1] if operations.ndim else 0
    wanted = {
        "operations": (operations, torch.int32, [count, levels]),
        "values": (values, torch.float32, [count, levels]),
        "matrices": (matrices, torch.float32, [count, levels, 2, 3]),
    }
    if holes is not None:
        wanted["holes"] = (holes, torch.int32, [count, 4])
    for name, (tensor, dtype, shape) in wanted.items():
        if tensor.dtype != dtype or list(tensor.shape) != shape or tensor.device != images.device:
            raise ValueError(
                f"augment: {name} must be {dtype} {shape} on {images.device}, "
                f"not {tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            )
    if len(fill) != 3 or not all(0 <= channel <= 255 for channel in fill):
        raise ValueError(f"augment: fill must be three bytes, not {fill}")
    if equalize not in ("dali", "pil"):
        raise ValueError(f"augment: equalize must be 'dali' or 'pil', not {equalize!r}")
