"""CTAugment: augmentation strengths learned from the model (Berthelot et al. 2020, arXiv 1911.09785, section 3.2).

Every operation's parameters are cut into bins, each with a rate m, at first 1. Strong views draw their bins by the
rates (`data/views/ctaugment.py`). One further view of every labeled image, the probe, draws them uniformly, and the EMA
network scores it as in an evaluation, with its running statistics:

    omega = 1 - 1/2 ||softmax(f_ema(probe(x))) - onehot(y)||_1,     m_bin <- 0.99 m_bin + 0.01 omega

one sample of the global batch after the other. The step of number t draws by the rates after t - lag steps, so that
drawing, which runs ahead, never waits for a step.

Any algorithm gets this by a view with the spec `ctaugment`: `probing` adds the probe to it.
Shape suffixes: B labeled batch, C classes, P parameters of all operations, K bins.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.models.norm import running_statistics
from semisonic.models.randomness import without_draws
from semisonic_kernels.ctaugment import first_rates, moved_rates
from semisonic_kernels.losses import one_hot

PROBE = "probe"
"""Name of the view that is scored."""
SPECS = ("ctaugment", "ctaugment-plain")
"""Specs of views whose draws depend on the rates."""


class CTAugmentRates(nn.Module):
    """The rates, and the tables of the last `lag` steps that are still to be drawn by."""

    rates: Tensor
    """[P, K], after `step` steps."""
    history: Tensor
    """[lag + 1, P, K]: row k % (lag + 1) is the table after k steps, of the newest lag + 1."""

    def __init__(self, lag: int):
        super().__init__()
        self.lag = lag
        self.register_buffer("rates", first_rates())
        self.register_buffer("history", first_rates().repeat(lag + 1, 1, 1))

    def update(self, bins: Tensor, omega_B: Tensor) -> None:
        """Moves the touched rates: see `moved_rates`."""
        self.rates.copy_(moved_rates(self.rates, bins, omega_B))


def learned(spec: str) -> bool:
    """Whether a view of this spec draws by learned rates."""
    return spec.partition("(")[0].strip() in SPECS


def uses(views: Views) -> bool:
    """Whether any view of an algorithm does."""
    return any(map(learned, (*views.labeled.values(), *views.unlabeled.values())))


def probing(kind: type[Algorithm], cfg: Any, lag: int = 1) -> type[Algorithm]:
    """The algorithm itself, or where one of its views is CTAugment, the same with a probe and rates to learn."""
    if not uses(kind.views(cfg)):
        return kind

    class Probing(kind):  # type: ignore[misc,valid-type]
        augment: CTAugmentRates

        @classmethod
        def views(cls, cfg: Any) -> Views:
            own: Views = super().views(cfg)
            return replace(own, labeled={**own.labeled, PROBE: "ctaugment-probe"}, params=(*own.params, PROBE))

        def setup(self, info: Info) -> None:
            super().setup(info)
            self.augment = CTAugmentRates(lag)

        def loss(self, batch: Batch) -> StepOutput:
            output = super().loss(batch)
            with torch.no_grad(), running_statistics(), without_draws():
                probability_BC = self.infer(batch.x[PROBE], module="ema", track=False).softmax(-1)
            right_BC = one_hot(batch.y, self.info.classes).to(probability_BC.dtype)
            omega_B = 1 - 0.5 * (probability_BC - right_BC).abs().sum(-1)
            observed = {"probe_omega": omega_B, "probe_bins": batch.params[PROBE]["bins"]}
            return StepOutput(
                output.loss, {**output.metrics, "probe_omega": omega_B.mean()}, {**output.observed, **observed}
            )

        def update(self, observed: dict[str, Tensor]) -> None:
            super().update(observed)
            self.augment.update(observed["probe_bins"], observed["probe_omega"])

    Probing.__name__ = Probing.__qualname__ = kind.__name__
    return Probing


def ctaugment_problems(kind: type[Algorithm], cfg: Any, lag: int, ahead: int) -> list[str]:
    """What speaks against CTAugment's feedback, if any view uses it; `ahead`: steps that drawing may be ahead."""
    views = kind.views(cfg)
    if not uses(views):
        return []
    problems = []
    if kind.roles != ("network",) or not views.labeled:
        field = next((name for name, value in cfg if isinstance(value, str) and learned(value)), "name")
        problems.append(
            f"algorithm.{field}: ctaugment learns from the labeled images of a method with one network; choose "
            f"another augmentation for {cfg.name}"
        )
    if lag < ahead:
        problems.append(
            f"data.ctaugment_lag: batches are drawn up to {ahead} steps ahead of the step, so the rates must be as "
            f"old; take at least {ahead}, or fewer data.steps_per_call"
        )
    return problems
