"""A weighted mean of images and of several altered copies of each, as AugMix makes it (arXiv 1912.02781)."""

import torch
from torch import Tensor


def mix_chains(images: Tensor, chains: Tensor, weights: Tensor) -> Tensor:
    """weights_0 image + sum_k weights_k chain_k, rounded: uint8 [N, H, W, 3], a new tensor.

    images: uint8 [N, H, W, 3]. chains: uint8 [N, K, H, W, 3]. weights: float32 [N, 1 + K], each at least 0; those of a
    sample should add up to 1. The same pixels on both devices: one launch on CUDA, `mix_chains_reference` on the CPU.
    ValueError where shapes, dtypes or devices do not fit.
    """
    if not images.is_cuda:
        return mix_chains_reference(images, chains, weights)
    _check(images, chains, weights)
    from semisonic_kernels.augment_mix_triton import mix_chains_launch  # Triton takes long to import

    return mix_chains_launch(images, chains, weights)


def mix_chains_reference(images: Tensor, chains: Tensor, weights: Tensor) -> Tensor:
    """`mix_chains` in plain torch, on any device."""
    _check(images, chains, weights)
    total = weights[:, 0].view(-1, 1, 1, 1) * images
    for number in range(chains.shape[1]):
        total += weights[:, number + 1].view(-1, 1, 1, 1) * chains[:, number]
    return (total + 0.5).floor_().clamp_(0, 255).to(torch.uint8)


def _check(images: Tensor, chains: Tensor, weights: Tensor) -> None:
    """Reads no value of a tensor."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"mix_chains: images must be uint8 [N, H, W, 3], not {images.dtype} {list(images.shape)}")
    count, *rest = images.shape
    number = chains.shape[1] if chains.ndim > 1 else 0
    wanted = {
        "chains": (chains, torch.uint8, [count, number, *rest]),
        "weights": (weights, torch.float32, [count, number + 1]),
    }
    for name, (tensor, dtype, shape) in wanted.items():
        if tensor.dtype != dtype or list(tensor.shape) != shape or tensor.device != images.device:
            raise ValueError(
                f"mix_chains: {name} must be {dtype} {shape} on {images.device}, "
                f"not {tensor.dtype} {list(tensor.shape)} on {tensor.device}"
            )
