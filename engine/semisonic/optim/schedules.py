"""Learning-rate schedules as pure functions of a step tensor: the same on the host, in a compiled graph and in
a CUDA graph. All take the step as a 0-d tensor (any dtype) and return a 0-d float64 tensor.
"""

import math

import torch
from torch import Tensor


def fixmatch_cosine(step: Tensor, total: int) -> Tensor:
    """cos(7 pi t / (16 T)), from 1 down to 0.195 at t = T, floored at 0 (FixMatch, arXiv 2001.07685)."""
    return torch.cos(7 * math.pi * step.double() / (16 * total)).clamp(min=0)


def adamatch_cosine(step: Tensor, total: int) -> Tensor:
    """cos(arccos(1/4) t / T), from 1 down to 0.25 at t = T (AdaMatch, arXiv 2106.04732, as its code has it)."""
    return torch.cos(math.acos(0.25) * (step.double() / total).clamp(max=1))


def half_cosine(step: Tensor, total: int) -> Tensor:
    """(1 + cos(pi t / T)) / 2, from 1 down to 0 (SGDR, arXiv 1608.03983)."""
    return (1 + torch.cos(math.pi * (step.double() / total).clamp(max=1))) / 2


def longer_cosine(step: Tensor, total: int) -> Tensor:
    """(1 + cos(8 pi t / 9 T)) / 2, from 1 down to 0.03: that of 450 epochs in a run of 400 (ICT, arXiv 1903.03825)."""
    return (1 + torch.cos(8 * math.pi / 9 * (step.double() / total).clamp(max=1))) / 2


def constant(step: Tensor, total: int) -> Tensor:
    return torch.ones_like(step, dtype=torch.float64)


LEARNING_RATE = {
    "fixmatch": fixmatch_cosine,
    "adamatch": adamatch_cosine,
    "cosine": half_cosine,
    "ict": longer_cosine,
    "constant": constant,
}


def learning_rate(step: Tensor, base: float, schedule: str, total: int, warm_up: int, wait: int = 0) -> Tensor:
    """`base` times the schedule's factor; before that a linear warm-up, (t+1)/(warm_up+1) of `base` at step t.

    wait: steps at a rate of 0 before all that. The schedule runs over the steps after both.
    """
    step = step.double() - wait
    factor = LEARNING_RATE[schedule]((step - warm_up).clamp(min=0), max(1, total - wait - warm_up))
    return base * factor * ((step + 1) / (warm_up + 1)).clamp(0, 1) * (step >= 0)
