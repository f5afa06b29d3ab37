"""Distribution alignment of guessed labels (Berthelot et al. 2020, arXiv 1911.09785, section 3.1).

For any method that guesses labels from a view of its own; FixMatch with it is that paper's variant (2001.07685).

    q <- normalize(q * (target + 1e-6) / (p^ + 1e-6)),   q = softmax(f(weak(u)))

p^ is the running mean of the network's own q before the alignment, this batch's included: of a window of batches, or an
exponential average. Labels and masks are those of the aligned q, so that a class which is guessed too often does not
crowd out the others. Every drawn unlabeled image counts in p^, also a labeled one that the pool has, as in ReMixMatch.
Labeled images that a method guesses labels of (DeFixMatch) are scaled as the unlabeled ones are, and do not count.
On logits it is a vector of the classes, added to those of the guesses; what is trained and predicted stays as it is.
Shape suffixes: U unlabeled batch, C classes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import AddOn, Base, Term
from semisonic.algorithms.alignment import RunningMean, alignment, mean_prediction
from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, Seen, StepOutput
from semisonic.schema import Config, UsedWith

ALIGNING = UsedWith("kind", ("align",))


class PriorConfig(Config):
    kind: Literal["none", "align"] = "none"
    """align: guesses are scaled so that their running mean becomes the target."""
    target: Annotated[Literal["labeled", "uniform"], ALIGNING] = "labeled"
    """The distribution of the classes among the labeled images, or all classes alike."""
    window: Annotated[int, ALIGNING] = Field(128, ge=0, le=2**20)
    """Batches in the running mean; 0 = an exponential average in its place."""
    momentum: Annotated[float, ALIGNING, UsedWith("window", (0,))] = Field(0.999, ge=0, le=1)
    """What that average keeps of itself in a step; it begins with all classes alike."""


class Prior(AddOn):
    Config = PriorConfig
    cfg: PriorConfig
    reads = ("guessed",)
    target_C: Tensor

    @classmethod
    def active(cls, cfg: PriorConfig, base: Base) -> bool:
        return cfg.kind != "none"

    @classmethod
    def problems(cls, cfg: PriorConfig, base: Base) -> list[str]:
        if base.kind.aligns(base.cfg):
            return [f"addons.prior.kind: {base.name} as configured aligns its guesses itself; use none"]
        return []

    @classmethod
    def takes_micro_batches(cls, cfg: PriorConfig) -> bool:
        return False  # guesses are aligned to the mean of the whole batch

    def setup(self, algorithm: Algorithm, info: Info) -> None:
        labeled_C, uniform_C = torch.tensor(info.class_prior), torch.full((info.classes,), 1 / info.classes)
        self.register_buffer("target_C", labeled_C if self.cfg.target == "labeled" else uniform_C)
        self.mean = RunningMean(self.cfg.window, self.cfg.momentum, info.classes)

    def guessed_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        whole_UC = seen.logits if seen.unlabeled is None else seen.unlabeled
        return logits_UC + alignment(self.target_C, self.mean.running(mean_prediction(whole_UC)))

    def term(self, algorithm: Algorithm, batch: Batch, output: StepOutput) -> Term:
        mean_C = output.seen["guessed"].logits.detach().softmax(-1).mean(0)
        return Term(None, {}, {"mean": mean_C[None]})

    def update(self, observed: dict[str, Tensor]) -> None:
        self.mean.push_mean(observed["mean"].mean(0, keepdim=True))  # of the ranks, which have equal shares
