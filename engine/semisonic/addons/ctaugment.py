"""CTAugment: augmentation strengths learned from the model (Berthelot et al. 2020, arXiv 1911.09785, section 3.2).

Every operation's parameters are cut into bins, each with a rate m, at first 1. Strong views draw their bins by the
rates (`data/views/ctaugment.py`). One further view of every labeled image, the probe, draws them uniformly, and the EMA
network scores it as in an evaluation, with its running statistics:

    omega = 1 - 1/2 ||softmax(f_ema(probe(x))) - onehot(y)||_1,     m_bin <- 0.99 m_bin + 0.01 omega

one sample of the global batch after the other. The step of number t draws by the rates after t - lag steps, so that
drawing, which runs ahead, never waits for a step.

A run has this add-on where a view has the spec `ctaugment`, of the algorithm or of an add-on before it.
Shape suffixes: B labeled batch, C classes, P parameters of all operations, K bins.
"""

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import AddOn, Base, Term
from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.models.norm import running_statistics
from semisonic.models.randomness import without_draws
from semisonic.schema import Config
from semisonic_kernels.ctaugment import first_rates, moved_rates
from semisonic_kernels.losses import one_hot

PROBE = "probe"
"""Name of the view that is scored."""
SPECS = ("ctaugment", "ctaugment-plain")
"""Specs of views whose draws depend on the rates."""


class CTAugmentConfig(Config):
    lag: int = Field(32, ge=1, le=10_000)
    """Age in steps of the rates that views with the spec ctaugment draw by: at least 4 data.steps_per_call, since
    drawing runs ahead."""


def learned(spec: str) -> bool:
    """Whether a view of this spec draws by learned rates."""
    return spec.partition("(")[0].strip() in SPECS


class CTAugment(AddOn):
    Config = CTAugmentConfig
    cfg: CTAugmentConfig
    former_fields = {"data.ctaugment_lag": "lag"}
    former_tensors = {"augment.": ""}
    rates: Tensor
    """[P, K], after `step` steps."""
    history: Tensor
    """[lag + 1, P, K]: row k % (lag + 1) is the table after k steps, of the newest lag + 1."""

    @classmethod
    def active(cls, cfg: CTAugmentConfig, base: Base) -> bool:
        return any(map(learned, base.views.specs))

    @classmethod
    def views(cls, cfg: CTAugmentConfig, base: Base) -> Views:
        return Views(labeled={PROBE: "ctaugment-probe"}, params=(PROBE,))

    @classmethod
    def problems(cls, cfg: CTAugmentConfig, base: Base) -> list[str]:
        if base.kind.roles == ("network",) and base.views.labeled:
            return []
        field = next((name for name, value in base.cfg if isinstance(value, str) and learned(value)), "name")
        return [
            f"algorithm.{field}: ctaugment learns from the labeled images of a method with one network; choose "
            f"another augmentation for {base.name}"
        ]

    @property
    def lag(self) -> int:
        return self.cfg.lag

    def setup(self, algorithm: Algorithm, info: Info) -> None:
        self.register_buffer("rates", first_rates())
        self.register_buffer("history", first_rates().repeat(self.lag + 1, 1, 1))

    def term(self, algorithm: Algorithm, batch: Batch, output: StepOutput) -> Term:
        with torch.no_grad(), running_statistics(), without_draws():
            probability_BC = algorithm.infer(batch.x[PROBE], module="ema", track=False).softmax(-1)
        right_BC = one_hot(batch.y, algorithm.info.classes).to(probability_BC.dtype)
        omega_B = 1 - 0.5 * (probability_BC - right_BC).abs().sum(-1)
        observed = {"omega": omega_B, "bins": batch.params[PROBE]["bins"]}
        return Term(None, {"probe_omega": omega_B.mean()}, observed)

    def update(self, observed: dict[str, Tensor]) -> None:
        """Moves the touched rates: see `moved_rates`."""
        self.rates.copy_(moved_rates(self.rates, observed["bins"], observed["omega"]))

    def tables(self) -> "CTAugment":
        return self
