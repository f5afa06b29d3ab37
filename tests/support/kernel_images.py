"""Images and uniform numbers for kernels on batches of images."""

import torch
from torch import Tensor

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def pictures(count: int = 6, height: int = 9, width: int = 7, dtype: torch.dtype = torch.uint8) -> Tensor:
    bits = torch.Generator().manual_seed(count + height + width)
    return torch.randint(256, (count, 3, height, width), generator=bits, dtype=torch.uint8).to(dtype)


def uniforms(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, width, generator=torch.Generator().manual_seed(seed))


def identity(count: int) -> Tensor:
    return torch.eye(3).expand(count, 3, 3)
