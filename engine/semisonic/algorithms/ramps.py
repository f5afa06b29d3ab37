"""Ramps: how the weight of a loss rises from 0 to 1 over the first steps of a run."""

import math

import torch
from torch import Tensor

from semisonic.schema import Config


def linear_ramp(step: Tensor, over: float, steps: int | None = None) -> Tensor:
    """From 0 at step 0 to 1 at step `over` and after it: 0-d float32. `over` 0 means 1 throughout.

    With `steps`, those of the run, an `over` of up to 1 is a share of them.
    """
    over = ramp_length(over, steps)
    return (step / over).clamp(max=1).float() if over else torch.ones_like(step, dtype=torch.float32)


def cosine_ramp(step: Tensor, over: float, steps: int | None = None) -> Tensor:
    """(1 - cos(pi t / T)) / 2 up to step T = `over`, then 1: 0-d float32 (AdaMatch, arXiv 2106.04732).

    With `steps`, those of the run, an `over` of up to 1 is a share of them.
    """
    return (1 - (math.pi * linear_ramp(step, over, steps)).cos()) / 2


def sigmoid_ramp(step: Tensor, over: float, steps: int | None = None) -> Tensor:
    """exp(-5 (1 - t/T)^2) up to step T = `over`, then 1: 0-d float32 (Temporal Ensembling, arXiv 1610.02242).

    With `steps`, those of the run, an `over` of up to 1 is a share of them.
    """
    over = ramp_length(over, steps)
    if not over:
        return torch.ones_like(step, dtype=torch.float32)
    return (-5 * (1 - (step / over).clamp(max=1)).square()).exp().float()


def shares_of_the_run(cfg: Config, *names: str) -> list[str]:
    """Those of these fields, where there are such, that are a share of the run: up to 1, and above 0."""
    return [name for name in names if 0 < (getattr(cfg, name, None) or 0) <= 1]


def ramp_length(over: float, steps: int | None) -> float:
    """Steps of a ramp; `over` up to 1 is a share of the run's `steps` where those are given."""
    return over * steps if steps is not None and over <= 1 else over
