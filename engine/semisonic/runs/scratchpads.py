"""What convolutions on the CPU take for themselves, inside an operation, beside their inputs and outputs.

oneDNN computes most convolutions on weights in blocks of input and output channels as wide as the CPU's vectors, and
fills what is missing: the single channel of a depthwise convolution becomes a whole block. It makes them anew at every
call, and in a backward their gradient as well. Which convolutions need it was found by counting what torch's allocator
gives out in each (torch 2.14, AVX-512); images must be laid out with channels last, as they are here.
"""

from math import prod
from typing import Any

import torch
from torch import Tensor

JIT_DEPTHWISE = 9
"""Weights of a channel up to which depthwise convolutions have kernels of their own: 3x3."""
VECTORS = {"AVX512": 16, "AVX2": 8}
"""Float32 numbers of a vector, by how the name of a CPU's capability begins."""


def scratch_bytes(func: Any, args: tuple[Any, ...]) -> int:
    """Bytes that an operation takes for itself while it runs; 0 for all but convolutions."""
    if func is torch.ops.aten.convolution.default:
        weight, transposed, groups = args[1], args[6], args[8]
        return 0 if transposed else _blocks(weight, groups)
    if func is torch.ops.aten.convolution_backward.default:
        weight, transposed, groups = args[2], args[7], args[9]
        blocks = _blocks(weight, groups) * (2 if groups == 1 else 1)
        return 0 if transposed else blocks
    return 0


def _blocks(weight: Tensor, groups: int) -> int:
    """Bytes of the weights [out, in / groups, ...] in blocks of channels."""
    size = prod(weight.shape[2:])
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    if size == 1 or (inputs == outputs == 1 and size <= JIT_DEPTHWISE):
        return 0
    capability = torch.backends.cpu.get_cpu_capability()
    wide = next((width for name, width in VECTORS.items() if capability.startswith(name)), 1)
    filled = [-(-channels // wide) * wide for channels in (outputs, inputs)]
    return groups * prod(filled) * size * weight.itemsize
