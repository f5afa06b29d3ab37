"""Batch normalization over the global batch of a process group (Ioffe and Szegedy 2015, arXiv 1502.03167).

Equals BatchNorm on the concatenation of all ranks' batches, in value, gradient and running statistics; on the
CPU (gloo) and on CUDA (NCCL), eager and inside one compiled graph. A ReLU or leaky ReLU after it can be part of it, so
that what lies between the two is never kept. The forward costs one all-gather of [R, 2C] numbers, the backward one
all-reduce of [2C].
Shape suffixes: N batch, C channels, R ranks.
"""

import math
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
    momentum: float | Tensor,
    eps: float,
    training: bool,
    group: dist.ProcessGroup | None = None,
    slope: float | None = None,
) -> Tensor:
    """Normalizes x [N, C, ...] per channel; the output has the shape and dtype of x.

    weight, bias: [C], both or neither. running_mean, running_var: [C] or None (statistics are not tracked);
    in training they move by `momentum` (torch's convention) towards the mean and the unbiased variance. A momentum
    that changes from step to step is a 0-d tensor of their device, which is not read on the host.
    group: in training, the statistics are those of all its ranks' batches; None means of this rank's alone.
    All ranks of the group must call with the same shape. Statistics are float32, for float64 x float64.
    slope: multiplies what comes out negative, as in leaky ReLU; 0 is ReLU, None no activation.
    Raises ValueError on shapes that do not fit and on a negative slope.
    """
    _check(x, weight, bias, running_mean, running_var, training, slope)
    world = dist.get_world_size(group) if training and group is not None else 1
    if world == 1:
        if isinstance(momentum, Tensor) and training and running_mean is not None and running_var is not None:
            # By a momentum of 1 torch leaves the batch's own statistics in what it is given.
            mean_C, var_C = torch.zeros_like(running_mean), torch.zeros_like(running_var)
            y = F.batch_norm(x, mean_C, var_C, weight, bias, training, 1.0, eps)
            _move(running_mean, running_var, mean_C, var_C, momentum)
        else:
            number = 0.0 if isinstance(momentum, Tensor) else momentum  # where nothing moves
            y = F.batch_norm(x, running_mean, running_var, weight, bias, training, number, eps)
        # The backward of batch_norm does not read its output. A compiler fuses, and recomputes more with no writes.
        return activated(y, slope, inplace=not torch.compiler.is_compiling())

    count = x.numel() // x.shape[1] * world
    assert group is not None
    name = group.group_name
    mean_C, var_C = global_statistics(x.detach(), name, world)
    if running_mean is not None and running_var is not None:
        _move(running_mean, running_var, mean_C, var_C * (count / (count - 1)), momentum)
    if weight is None or bias is None:
        weight, bias = torch.ones_like(mean_C), torch.zeros_like(mean_C)
    return _Normalize.apply(x, weight, bias, mean_C, torch.rsqrt(var_C + eps), name, count, slope)


@torch.no_grad()
def _move(running_mean: Tensor, running_var: Tensor, mean_C: Tensor, var_C: Tensor, momentum: float | Tensor) -> None:
    """Moves running statistics, in place, towards a batch's, of which the variance is unbiased."""
    for running, value in ((running_mean, mean_C), (running_var, var_C)):
        weight = momentum.to(running.dtype) if isinstance(momentum, Tensor) else momentum
        running.lerp_(value.to(running.dtype), weight)


def activated(y: Tensor, slope: float | None, inplace: bool = False) -> Tensor:
    """Leaky ReLU of y; ReLU for a slope of 0, y itself for None."""
    if slope is None:
        return y
    return F.relu(y, inplace) if slope == 0 else F.leaky_relu(y, slope, inplace)


@torch.no_grad()
def global_statistics(x: Tensor, group_name: Any, world: int) -> tuple[Tensor, Tensor]:
    """Mean [C] and biased variance [C] of x [N, C, ...] over all ranks, which hold batches of equal size.

    From every rank's own (mean, variance): sums and sums of squares, which could be reduced, lose all digits where the
    mean is large.
    """
    var_C, mean_C = torch.var_mean(x.to(_statistics_dtype(x)), _reduced(x), correction=0)
    rows = collectives.all_gather_tensor(torch.cat([mean_C, var_C]), 0, group_name).view(world, -1)
    means_RC, vars_RC = rows.chunk(2, dim=1)
    mean_C = means_RC.mean(0)
    return mean_C, vars_RC.mean(0) + (means_RC - mean_C).square().mean(0)


class _Normalize(torch.autograd.Function):
    """(x - mean) * inv * weight + bias and its activation, with the gradient of mean and inv as functions of the
    global batch. What the activation was given is not kept: the backward computes its sign anew.

    In the `setup_context` form because `torch.func.grad` accepts no other.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        inv: Tensor,
        group_name: Any,
        count: int,
        slope: float | None,
    ) -> Tensor:
        y = activated(_scaled(x, weight, bias, mean, inv), slope)
        # A conversion that converts nothing would cut the gradient off in a graph: its result is the tensor itself,
        # which torch 2.11 takes for one that nothing is differentiated through.
        return y if y.dtype == x.dtype else y.to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, mean, inv, ctx.group_name, ctx.count, ctx.slope = inputs
        ctx.save_for_backward(x, weight, bias, mean, inv)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, bias, mean, inv = ctx.saved_tensors
        grad = grad.to(mean.dtype)
        if ctx.slope is not None:
            positive = _scaled(x, weight, bias, mean, inv) > 0
            grad = torch.where(positive, grad, grad * ctx.slope if ctx.slope else 0.0)
        normalized = (x.to(mean.dtype) - _like(mean, x)) * _like(inv, x)
        bias_C = grad.sum(_reduced(x))
        weight_C = (grad * normalized).sum(_reduced(x))
        # Divided before it is reduced: a compiler makes bias_C and weight_C parts of what cat makes and reduces that in
        # place, so that where they are needed afterwards (sums over several forwards) they would be every rank's.
        shares = torch.cat([bias_C, weight_C]) / ctx.count
        sums = collectives.all_reduce(shares, "sum", ctx.group_name)
        sum_C, sum_normalized_C = sums.chunk(2)
        grad_x = (grad - _like(sum_C, x) - normalized * _like(sum_normalized_C, x)) * _like(weight * inv, x)
        # The gradients of weight and bias stay those of this rank's loss: averaging them is DDP's part.
        return (
            grad_x.to(x.dtype),
            weight_C.to(weight.dtype),
            bias_C.to(bias.dtype),
            None,
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
    slope: float | None = None,
) -> list[Tensor]:
    """What each rank's `batch_norm` returns in training, from the batches of all ranks, in plain torch."""
    joint = F.batch_norm(torch.cat(batches), running_mean, running_var, weight, bias, True, momentum, eps)
    return list(activated(joint, slope).split([len(batch) for batch in batches]))


def _scaled(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inv: Tensor) -> Tensor:
    return (x.to(mean.dtype) - _like(mean, x)) * _like(inv * weight, x) + _like(bias, x)


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
    slope: float | None,
) -> None:
    if x.dim() < 2 or not x.is_floating_point():
        raise ValueError(f"batch_norm: x must be a floating tensor [N, C, ...], not {x.dtype} {list(x.shape)}")
    if (weight is None) != (bias is None) or (running_mean is None) != (running_var is None):
        raise ValueError("batch_norm: give both of weight and bias, and both running statistics, or neither")
    if not training and running_mean is None:
        raise ValueError("batch_norm: evaluation needs running statistics")
    if slope is not None and not 0 <= slope < math.inf:
        raise ValueError(f"batch_norm: slope must be None or a number from 0 on, not {slope}")
    named = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    for name, tensor in named.items():
        if tensor is not None and tensor.shape != x.shape[1:2]:
            raise ValueError(f"batch_norm: {name} has shape {list(tensor.shape)}, x has {x.shape[1]} channels")
