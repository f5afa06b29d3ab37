"""What kernels on batches of images share."""

import torch
from torch import Tensor


def channels_last(images: Tensor) -> bool:
    """Whether a batch lies in memory pixel by pixel, and not channel by channel as well."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def in_rows(images: Tensor) -> Tensor:
    """A batch [N, C, H, W] as one row of memory for each image [N, CHW]; of a dense one a view.

    A CPU does arithmetic with such rows many times as fast as with a value for each of three channels, which leaves it
    loops of three numbers.
    """
    return (images.permute(0, 2, 3, 1) if channels_last(images) else images).flatten(1)


def from_rows(rows: Tensor, images: Tensor) -> Tensor:
    """The reverse of `in_rows`, of a batch in the shape and layout of `images`."""
    if not channels_last(images):
        return rows.view(images.shape)
    count, channels, height, width = images.shape
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def channel_row(values: Tensor, images: Tensor) -> Tensor:
    """A value for each channel, [C] or [1, C, 1, 1], at every place of an image's row: [1, CHW]."""
    spread = values.view(1, -1, 1, 1).expand(1, *images.shape[1:])
    return (spread.permute(0, 2, 3, 1) if channels_last(images) else spread).flatten(1)


def normalized(images: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(x - mean) * scale of uint8 images [N, C, H, W], in the dtype of mean and scale [1, C, 1, 1]."""
    x = images.to(mean.dtype)
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not (channels_last(x) or x.is_contiguous()):
        return (x - mean) * scale
    return from_rows(in_rows(x).sub_(channel_row(mean, x)).mul_(channel_row(scale, x)), x)


def laid_out_like(made: Tensor, images: Tensor) -> Tensor:
    """A batch in the memory layout of another: channels_last where that is, else contiguous."""
    return made.contiguous(memory_format=torch.channels_last if channels_last(images) else torch.contiguous_format)


def described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def check_images(name: str, images: Tensor) -> None:
    """Raises ValueError unless images are uint8 or floating [N, C, H, W] with pixels."""
    if images.dim() != 4 or 0 in images.shape[1:] or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise ValueError(f"{name}: images must be uint8 or floating [N, C, H, W], not {described(images)}")
