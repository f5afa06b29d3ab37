"""Quarter turns of square images, exact: no interpolation, no shape that depends on the data.

Shape suffixes: N images, M images that come out, P pixels of an image, C channels.
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
    """Image `source` turned so often: a table says where each pixel comes from, whose channels are read together."""
    count, channels, size, _ = images.shape
    places = torch.arange(size * size, device=images.device).view(size, size)
    table_4P = torch.stack([torch.rot90(places, k) for k in range(4)]).view(4, -1)
    pixels_NPC = images.permute(0, 2, 3, 1).reshape(count, size * size, channels)
    turned_MPC = pixels_NPC[source_M[:, None], table_4P[turns_M % 4]]
    return _laid_out_like(turned_MPC.view(len(source_M), size, size, channels).permute(0, 3, 1, 2), images)


def _laid_out_like(turned: Tensor, images: Tensor) -> Tensor:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return turned.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
