"""Tensors of many shapes and layouts, for kernels that work on lists of them."""

import torch
from torch import Tensor

from semisonic_kernels.multi_tensor import BLOCK

SHAPES = [(), (1,), (7,), (3, 5), (2, 3, 5, 7), (0, 4), (BLOCK + 3,)]


def tensors(dtype: torch.dtype, seed: int, device: str = "cpu", strided: bool = True) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=generator).to(device, dtype) for shape in SHAPES]
    nhwc = torch.randn(2, 3, 4, 5, generator=generator)
    found.append(nhwc.to(device, dtype, memory_format=torch.channels_last))
    if strided:
        found.append(torch.randn(6, 5, generator=generator).to(device, dtype).t()[::2])
    return found


def scalar(value: float, device: str = "cpu") -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device=device)
