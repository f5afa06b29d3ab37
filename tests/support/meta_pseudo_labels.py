"""A step of Meta Pseudo Labels, and the gradients of one of its roles."""

import torch
from torch import Tensor

from semisonic.algorithms.mpl import MPL
from semisonic.contract import Batch
from tests.support.algorithms import batch
from tests.support.runner import Runner

FIELDS = {"dropout": 0.0, "threshold": 0.3, "temperature": 0.7}


def step(algorithm: MPL, rate: float = 0.05, given: Batch | None = None, progress: float | None = None) -> Runner:
    """One step of both, without momentum; `progress` in place of h."""
    run = Runner(algorithm, lr=rate)
    if progress is not None:
        run.mean = lambda value: torch.full_like(value, progress)  # type: ignore[method-assign]
    run.output = algorithm.train_step(given or batch(), run)
    return run


def part(gradients: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in gradients.items() if name.startswith(f"{prefix}.")}
