"""`mix_chains` of `augment_mix.py` by Triton, in one launch."""

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


def mix_chains_launch(images: Tensor, chains: Tensor, weights: Tensor) -> Tensor:
    """`mix_chains` by Triton, after its checks."""
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    size = images[0].numel() if len(images) else 0
    if size:
        grid = (len(images), triton.cdiv(size, _BLOCK))
        _mix_kernel[grid](
            images.contiguous(), chains.contiguous(), weights.contiguous(), result, size,
            CHAINS=chains.shape[1], BLOCK=_BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return result


@triton.jit
def _mix_kernel(images, chains, weights, results, size, CHAINS: tl.constexpr, BLOCK: tl.constexpr):
    sample = tl.program_id(0).to(tl.int64)
    offsets = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < size
    weight = weights + sample * (CHAINS + 1)
    total = tl.load(weight) * tl.load(images + sample * size + offsets, mask=mask, other=0).to(tl.float32)
    for number in tl.static_range(CHAINS):
        pixels = tl.load(chains + (sample * CHAINS + number) * size + offsets, mask=mask, other=0)
        total += tl.load(weight + number + 1) * pixels.to(tl.float32)
    mixed = tl.minimum(tl.maximum(tl.floor(total + 0.5), 0.0), 255.0)
    tl.store(results + sample * size + offsets, mixed.to(tl.uint8), mask=mask)
