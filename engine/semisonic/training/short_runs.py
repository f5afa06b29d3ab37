"""What to tell of a run that ends before its averages have arrived."""

from semisonic.algorithms.base import Algorithm
from semisonic.config.run_config import RunConfig
from semisonic.models.norm import BatchNorm2d

ARRIVED = 5
"""Lengths of an average's memory, after which what it began with counts by less than 1 %."""


def short_run_notes(cfg: RunConfig, algorithm: Algorithm) -> list[str]:
    """A line for each average without start-up correction that the run is too short for, with the field to set.

    algorithm: as `build_algorithm` makes it for `cfg`.
    """
    notes = []
    if cfg.ema.start_up == "none" and cfg.steps < (needed := _steps(1 - cfg.ema.decay)):
        notes.append(
            f"steps: {cfg.steps:,} are few for the EMA, which with a decay of {cfg.ema.decay:g} takes {needed:,.0f} to "
            "forget what it begins with; correct it by --ema.start-up tf"
        )
    modules = [module for module in algorithm.network.modules() if isinstance(module, BatchNorm2d)]
    # What a step's micro-batches come to together; statistics that were loaded need no start-up.
    momenta = [round(1 - (1 - layer.momentum) ** cfg.batch.micro, 9) for layer in modules if layer.start_up]
    slowest = min(momenta, default=1.0)
    if not cfg.model.norm_start_up and momenta and cfg.steps < (needed := _steps(slowest)):
        notes.append(
            f"steps: {cfg.steps:,} are few for BatchNorm's running statistics, which evaluation uses and which with a "
            f"momentum of {slowest:g} take {needed:,.0f}; correct them by --model.norm-start-up 10"
        )
    return notes


def _steps(weight: float) -> float:
    """Steps that an average needs in which each counts by this weight."""
    return round(ARRIVED / weight, 3)
