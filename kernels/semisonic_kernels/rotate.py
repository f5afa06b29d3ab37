"""Quarter turns of square images, exact: no interpolation, no shape that depends on the data.

Shape suffixes: N images, M images that come out.
"""

import torch
from torch import Tensor

from semisonic_kernels.fuse import fused


def rotate_reference(images: Tensor, turns_N: Tensor) -> Tensor:
    """`rotate` by torch's rot90: all four, of which each image takes its own."""
    all_4N = torch.stack([torch.rot90(images, k, (2, 3)) for k in range(4)])
    return _laid_out_like(all_4N[turns_N % 4, torch.arange(len(images), device=images.device)], images)


def rotations_reference(images: Tensor) -> Tensor:
    """`rotations` by torch's rot90."""
    return _laid_out_like(torch.cat([torch.rot90(images, k, (2, 3)) for k in range(4)]), images)


def _check_images(name: str, images: Tensor) -> None:
    if images.dim() != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"{name}: images must be square, [N, C, S, S], not {_described(images)}")


def _check_rotate(images: Tensor, turns_N: Tensor) -> None:
    _check_images("rotate", images)
    if turns_N.dtype != torch.int64 or turns_N.shape != images.shape[:1]:
        raise ValueError(f"rotate: turns must be int64 [{len(images)}], not {_described(turns_N)}")


def _check_rotations(images: Tensor) -> None:
    _check_images("rotations", images)


@fused(rotate_reference, _check_rotate)
def rotate(images: Tensor, turns_N: Tensor) -> Tensor:
    """Each image [N, C, S, S], of any dtype, turned by its own number of quarter turns, int64 [N], modulo 4.

    Counter-clockwise, as torch.rot90. The memory layout stays; the gradient, where there is one, turns back. Raises
    ValueError where shapes or dtypes do not fit.
    """
    return _turned(images, torch.arange(len(images), device=images.device), turns_N)


@fused(rotations_reference, _check_rotations)
def rotations(images: Tensor) -> Tensor:
    """All four rotations of images [N, C, S, S]: [4 N, C, S, S], first all by 0 quarter turns, then all by 1, 2, 3.

    Otherwise as `rotate`.
    """
    count = len(images)
    numbers_M = torch.arange(4 * count, device=images.device)
    return _turned(images, numbers_M % count, numbers_M // count)


def _turned(images: Tensor, source_M: Tensor, turns_M: Tensor) -> Tensor:
    """Image `source` turned so often, each pixel read once from where it was."""
    last = images.shape[2] - 1
    rows, columns = (torch.arange(last + 1, device=images.device).view(shape) for shape in ((1, -1, 1), (1, 1, -1)))
    turns_M = turns_M.view(-1, 1, 1)
    odd, first, second = turns_M % 2 == 1, (turns_M + 1) % 4 >= 2, turns_M % 4 >= 2
    # Turned once, pixel (i, j) was at (j, last - i); twice, at (last - i, last - j); thrice, at (last - j, i).
    row, column = torch.where(odd, columns, rows), torch.where(odd, rows, columns)
    row, column = torch.where(second, last - row, row), torch.where(first, last - column, column)
    # Indices around a slice put it last, so that the pixels of all channels are read, and lie, together.
    pixels = images[source_M.view(-1, 1, 1), :, row, column]
    return _laid_out_like(pixels.permute(0, 3, 1, 2), images)


def _laid_out_like(turned: Tensor, images: Tensor) -> Tensor:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return turned.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
