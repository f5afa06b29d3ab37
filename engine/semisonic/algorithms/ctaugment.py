"""CTAugment: augmentation strengths learned from the model (Berthelot et al. 2020, arXiv 1911.09785, section 3.2).

Every operation's parameters are cut into bins, each with a rate m, at first 1. Strong views draw their bins by the
rates (data/ctaugment.py). One further view of every labelled image, the probe, draws them uniformly, and the EMA
network scores it as in an evaluation, with its running statistics:

    omega = 1 - 1/2 ||softmax(f_ema(probe(x))) - onehot(y)||_1,     m_bin <- 0.99 m_bin + 0.01 omega

one sample of the global batch after the other. The step of number t draws by the rates after t - lag steps, so that
drawing, which runs ahead, never waits for a step.

Any algorithm gets this by a view with the spec `ctaugment`: `probing` adds the probe to it.
Shape suffixes: B labelled batch, C classes, P parameters of all operations, K bins, T touched bins of a batch.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.models.norm import running_statistics
from semisonic.models.randomness import without_draws
from semisonic_kernels.losses import one_hot

OPERATIONS: dict[str, tuple[int, ...]] = {
    "auto_contrast": (17,),
    "blur": (17,),
    "brightness": (17,),
    "color": (17,),
    "contrast": (17,),
    "cutout": (17,),
    "equalize": (17,),
    "identity": (),
    "invert": (17,),
    "posterize": (8,),
    "rescale": (17, 6),
    "rotate": (17,),
    "sharpness": (17,),
    "shear_x": (17,),
    "shear_y": (17,),
    "smooth": (17,),
    "solarize": (17,),
    "translate_x": (17,),
    "translate_y": (17,),
}
"""Bins of the parameters of each operation."""
BINS = [bins for parameters in OPERATIONS.values() for bins in parameters]
"""Of all parameters, [P]."""
MOST = max(BINS)
DECAY = 0.99
PROBE = "probe"
"""Name of the view that is scored."""
SPECS = ("ctaugment", "ctaugment-plain")
"""Specs of views whose draws depend on the rates."""


def first_rates() -> Tensor:
    """1 for each bin: float32 [P, K], 0 beyond a parameter's own bins."""
    return (torch.arange(MOST) < torch.tensor(BINS)[:, None]).float()


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
        """Moves the touched rates one sample after the other, in the order given.

        bins: positions in the flattened rates [B, ...], -1 for none; omega_B in 0..1.
        """
        bins_BX = bins.flatten(1)
        omega_T = omega_B[:, None].expand_as(bins_BX).flatten().to(self.rates.dtype)
        touched_TR = bins_BX.flatten()[:, None] == torch.arange(self.rates.numel(), device=bins.device)
        from_here_TR = touched_TR.flip(0).cumsum(0).flip(0)
        later_T = (from_here_TR * touched_TR).sum(1) - 1  # times that a later sample moves the same bin
        weight_T = (1 - DECAY) * omega_T * DECAY ** later_T.to(self.rates.dtype)
        added_R = (touched_TR * weight_T[:, None]).sum(0)
        kept_R = DECAY ** touched_TR.sum(0).to(self.rates.dtype)
        self.rates.copy_(self.rates * kept_R.view_as(self.rates) + added_R.view_as(self.rates))


def learned(spec: str) -> bool:
    """Whether a view of this spec draws by learned rates."""
    return spec.partition("(")[0].strip() in SPECS


def uses(views: Views) -> bool:
    """Whether any view of an algorithm does."""
    return any(map(learned, (*views.labelled.values(), *views.unlabelled.values())))


def probing(kind: type[Algorithm], cfg: Any, lag: int = 1) -> type[Algorithm]:
    """The algorithm itself, or where one of its views is CTAugment, the same with a probe and rates to learn."""
    if not uses(kind.views(cfg)):
        return kind

    class Probing(kind):  # type: ignore[misc,valid-type]
        augment: CTAugmentRates

        @classmethod
        def views(cls, cfg: Any) -> Views:
            own = super().views(cfg)
            return replace(own, labelled={**own.labelled, PROBE: "ctaugment-probe"}, params=(*own.params, PROBE))

        def setup(self, info: Info) -> None:
            super().setup(info)
            self.augment = CTAugmentRates(lag)

        def loss(self, batch: Batch) -> StepOutput:
            output = super().loss(batch)
            with torch.no_grad(), running_statistics(), without_draws():
                probability_BC = self.infer(batch.x[PROBE], net="ema", track=False).softmax(-1)
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


def check(kind: type[Algorithm], cfg: Any, lag: int, ahead: int) -> list[str]:
    """What speaks against CTAugment's feedback, if any view uses it; `ahead`: steps that drawing may be ahead."""
    views = kind.views(cfg)
    if not uses(views):
        return []
    problems = []
    if kind.roles != ("network",) or not views.labelled:
        field = next((name for name, value in cfg if isinstance(value, str) and learned(value)), "name")
        problems.append(
            f"algorithm.{field}: ctaugment learns from the labelled images of a method with one network; choose "
            f"another augmentation for {cfg.name}"
        )
    if lag < ahead:
        problems.append(
            f"data.ctaugment_lag: batches are drawn up to {ahead} steps ahead of the step, so the rates must be as "
            f"old; take at least {ahead}, or fewer data.steps_per_call"
        )
    return problems
