"""What a loss needs of the other ranks: in eager code and inside one compiled graph, over gloo and NCCL.

Without a process group all are the identity. Every rank must call with the same shapes, in the same order.
Shape suffixes: N samples of a rank, R ranks.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as collectives


def ranks() -> int:
    """The number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(x: Tensor) -> Tensor:
    """All ranks' tensors [N, ...], detached, in the order of the ranks: [R * N, ...]."""
    x = x.detach()
    return x if ranks() == 1 else collectives.all_gather_tensor(x.contiguous(), 0, _group())


def mean(x: Tensor) -> Tensor:
    """The mean over the ranks of tensors of one shape, detached."""
    x = x.detach()
    return x if ranks() == 1 else collectives.all_reduce(x.contiguous(), "sum", _group()) / ranks()


def gather_with_gradient(x: Tensor) -> Tensor:
    """`gather` with a gradient: that of x [N, ...] is the sum over the ranks' losses.

    DDP then averages the parameters' gradients over the ranks, so that the loss that is minimized is the mean of the
    ranks' losses, as for every other term.
    """
    return x if ranks() == 1 else _Gather.apply(x.contiguous(), dist.get_rank(), _group())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, rank: int, group_name: Any) -> Tensor:
        return collectives.all_gather_tensor(x, 0, group_name)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.rank, ctx.group_name = inputs
        ctx.count = len(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        total = collectives.all_reduce(grad.contiguous(), "sum", ctx.group_name)
        return total.narrow(0, ctx.rank * ctx.count, ctx.count), None, None


def _group() -> Any:
    assert dist.group.WORLD is not None
    return dist.group.WORLD.group_name
