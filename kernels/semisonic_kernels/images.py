"""What kernels on batches of images share."""

import torch
from torch import Tensor


def laid_out_like(made: Tensor, images: Tensor) -> Tensor:
    """A batch in the memory layout of another: channels_last where that is, else contiguous."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return made.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def check_images(name: str, images: Tensor) -> None:
    """Raises ValueError unless images are uint8 or floating [N, C, H, W] with pixels."""
    if images.dim() != 4 or 0 in images.shape[1:] or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(f"{name}: images must be uint8 or floating [N, C, H, W], not {described(images)}")
