"""Pillow's four enhancements on a batch of images, one after the other, each image with factors of its own."""

import torch
from torch import Tensor

from semisonic_kernels.augment_reference import BRIGHTNESS, COLOR, CONTRAST, POINTWISE, SHARPNESS, augment_pixels
from semisonic_kernels.images import described

ORDER = (COLOR, CONTRAST, BRIGHTNESS, SHARPNESS)


def _check(images: Tensor, factors_N4: Tensor) -> None:
    if images.dim() != 4 or images.dtype != torch.uint8 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"enhance: images must be uint8 [N, 3, H, W], not {described(images)}")
    if tuple(factors_N4.shape) != (len(images), 4) or not factors_N4.is_floating_point():
        raise ValueError(f"enhance: factors must be floating [{len(images)}, 4], not {described(factors_N4)}")


def enhance_reference(images: Tensor, factors_N4: Tensor) -> Tensor:
    """`enhance` as four levels of `augment_reference`, which groups samples by their operation on the host."""
    _check(images, factors_N4)
    codes_N4 = torch.tensor(ORDER, dtype=torch.int32, device=images.device).expand(len(images), -1)
    matrices = torch.zeros(len(images), 4, 2, 3, device=images.device)
    pixels = images.permute(0, 2, 3, 1)
    return augment_pixels(pixels, codes_N4, factors_N4.float(), matrices, None, (0, 0, 0), False).permute(0, 3, 1, 2)


def enhance(images: Tensor, factors_N4: Tensor) -> Tensor:
    """Color, contrast, brightness and sharpness changed by the given factors, in this order; 1 changes nothing.

    images: uint8 [N, 3, H, W]; the result too, channels_last. factors: floating [N, 4], 0 or more. Pixels are those of
    Pillow's ImageEnhance. Plain torch that a compiler fuses; nothing waits for the device. Raises ValueError where
    shapes or dtypes do not fit.
    """
    _check(images, factors_N4)
    pixels = images.permute(0, 2, 3, 1)
    for operation, factor_N in zip(ORDER, factors_N4.float().unbind(1), strict=True):
        pixels = POINTWISE[operation](pixels, factor_N.view(-1, 1, 1, 1))
    return pixels.permute(0, 3, 1, 2)
