"""How DALI is called: where, how many steps at a time, and how far ahead of the step; known without DALI."""

from dataclasses import dataclass
from typing import Self

import torch

from semisonic.data.sets.base import DataConfig

PREFETCH = 2
"""Calls in DALI's queue: the one being handed over and the next."""
CALLS_AHEAD = 4
"""Calls of DALI whose draws may have begun when the first step of the first of them is asked for: it, two that DALI's
queue and the receiving thread hold, and the one being prepared."""
PIXELS_PER_CALL = 2**22
MOST_STEPS_PER_CALL = 8


def steps_per_call(asked: int, batch: int, size: int, device: torch.device) -> int:
    """Steps whose images one DALI call makes, for `batch` samples a step on this rank; `asked`: 0 = as many as fit."""
    if asked:
        return asked
    if device.type != "cuda":
        return 1
    return min(MOST_STEPS_PER_CALL, max(1, PIXELS_PER_CALL // (batch * size**2)))


@dataclass(frozen=True)
class Placement:
    """Where views are made, and by what."""

    device: torch.device
    threads: int = 2
    """CPU threads of DALI, and as many that read files."""
    operations: str = "auto"
    """Where RandAugment's operations run: see `build_view`."""
    equalize: str = "dali"
    steps_per_call: int = 0
    """Steps whose images one DALI call makes; 0 = as many as fit, where a loader decides, else 1."""

    @classmethod
    def of(cls, cfg: DataConfig, device: torch.device, threads: int = 2) -> Self:
        """What the configuration says of it."""
        return cls(device, threads, cfg.operations, cfg.equalize, cfg.steps_per_call)


@dataclass(frozen=True)
class StepRange:
    """The steps that a stream makes views for."""

    start: int = 0
    stop: int | None = None
    """From which on nothing is begun beyond what DALI's queue must be fed; None: there is no end."""


EVERY_STEP = StepRange()
