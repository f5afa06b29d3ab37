"""Batch normalisation over the global batch of a process group (Ioffe and Szegedy 2015, arXiv 1502.03167).

Equals BatchNorm on the concatenation of all ranks' batches, in value, gradient and running statistics; on the
CPU (gloo) and on CUDA (NCCL), eager and inside one compiled graph. The forward costs one all-reduce of [R,
2C] numbers, the backward one of [2C].
Shape suffixes: N batch, C channels, R ranks.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as collectives
from torch.nn import functional as F


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    training: bool,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Normalises x [N, C, ...] per channel; the output has the shape and dtype of x.

    weight, bias: [C], both or neither. running_mean, running_var: [C] or None (statistics are not tracked);
    in training they move by `momentum` (torch's convention) towards the mean and the unbiased variance.
    group: in training, the statistics are those of all its ranks' batches; None means of this rank's alone.
    All ranks of the group must call with the same shape. Statistics are float32, for float64 x float64.
    Raises ValueError on shapes that do not fit.
    """
    _check(x, weight, bias, running_mean, running_var, training)
    world = dist.get_world_size(group) if training and group is not None else 1
    if world == 1:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)

    count = x.numel() // x.shape[1] * world
    assert group is not None
    name = group.group_name
    mean_C, var_C = global_statistics(x.detach(), name, dist.get_rank(group), world)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean_C.to(running_mean.dtype), momentum)
            running_var.lerp_((var_C * (count / (count - 1))).to(running_var.dtype), momentum)
    if weight is None or bias is None:
        weight, bias = torch.ones_like(mean_C), torch.zeros_like(mean_C)
    return _Normalise.apply(x, weight, bias, mean_C, torch.rsqrt(var_C + eps), name, count)


@torch.no_grad()
def global_statistics(x: Tensor, group_name: Any, rank: int, world: int) -> tuple[Tensor, Tensor]:
    """Mean [C] and biased variance [C] of x [N, C, ...] over all ranks, which hold batches of equal size.

    Every rank writes its own row of a zero matrix, so that one all-reduce gathers (mean, variance) exactly.
    Sums and sums of squares would need the same traffic, but lose all digits where the mean is large.
    """
    var_C, mean_C = torch.var_mean(x.to(_statistics_dtype(x)), _reduced(x), correction=0)
    rows = mean_C.new_zeros(world, 2 * len(mean_C))
    rows[rank] = torch.cat([mean_C, var_C])
    rows = collectives.all_reduce(rows, "sum", group_name)
    means_RC, vars_RC = rows.chunk(2, dim=1)
    mean_C = means_RC.mean(0)
    return mean_C, vars_RC.mean(0) + (means_RC - mean_C).square().mean(0)


class _Normalise(torch.autograd.Function):
    """(x - mean) * inv * weight + bias, with the gradient of mean and inv as functions of the global batch.

    In the `setup_context` form because `torch.func.grad` accepts no other.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inv: Tensor, group_name: Any, count: int
    ) -> Tensor:
        y = (x.to(mean.dtype) - _like(mean, x)) * _like(inv * weight, x) + _like(bias, x)
        return y.to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, mean, inv, ctx.group_name, ctx.count = inputs
        ctx.save_for_backward(x, weight, mean, inv)
        ctx.bias_dtype = bias.dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, mean, inv = ctx.saved_tensors
        grad = grad.to(mean.dtype)
        normalised = (x.to(mean.dtype) - _like(mean, x)) * _like(inv, x)
        bias_C = grad.sum(_reduced(x))
        weight_C = (grad * normalised).sum(_reduced(x))
        sums = collectives.all_reduce(torch.cat([bias_C, weight_C]), "sum", ctx.group_name) / ctx.count
        sum_C, sum_normalised_C = sums.chunk(2)
        grad_x = (grad - _like(sum_C, x) - normalised * _like(sum_normalised_C, x)) * _like(weight * inv, x)
        # The gradients of weight and bias stay those of this rank's loss: averaging them is DDP's part.
        return (
            grad_x.to(x.dtype),
            weight_C.to(weight.dtype),
            bias_C.to(ctx.bias_dtype),
            None,
            None,
            None,
            None,
        )


def batch_norm_reference(
    batches: list[Tensor],
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> list[Tensor]:
    """What each rank's `batch_norm` returns in training, from the batches of all ranks, in plain torch."""
    joint = F.batch_norm(torch.cat(batches), running_mean, running_var, weight, bias, True, momentum, eps)
    return list(joint.split([len(batch) for batch in batches]))


def _reduced(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _like(value_C: Tensor, x: Tensor) -> Tensor:
    return value_C.view(-1, *[1] * (x.dim() - 2))


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _check(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
) -> None:
    if x.dim() < 2 or not x.is_floating_point():
        raise ValueError(f"batch_norm: x must be a floating tensor [N, C, ...], not {x.dtype} {list(x.shape)}")
    if (weight is None) != (bias is None) or (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both of weight and bias, and both running statistics, or neither")
    if not training and running_mean is None:
        raise ValueError("batch_norm: evaluation needs running statistics")
    named = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    for name, tensor in named.items():
        if tensor is not None and tensor.shape != x.shape[1:2]:
            raise ValueError(f"batch_norm: {name} has shape {list(tensor.shape)}, x has {x.shape[1]} channels")
