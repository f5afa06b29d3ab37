"""SoftMatch: every pseudo-label counts, by how sure it is among the others (Chen et al. 2023, arXiv 2301.10921).

    q   = p(weak(u)), no gradient;   p^ <- m p^ + (1 - m) mean q;   q~ = normalize(q * (1 / C) / p^)
    mu  <- m mu  + (1 - m) mean of max q~,   var <- m var + (1 - m) variance of max q~ (unbiased)
    w   = exp(-min(0, max q~ - mu)^2 / (2 var / n^2)),   n = `width`
    L_u = mean over all U of w * H(argmax q, p(strong(u)))
    L   = mean_B H(y, p(weak(x))) + weight * L_u

w is 1 above mu, and falls below it as a normal curve does. p^ and mu begin at 1 / C, var at 1. All three have a step's
batch in them before they are used, mean and variance are over the images of all ranks together, and so no micro-batches
are taken. The label is that of q itself; `align` off leaves its confidence as it is, too.
All three views go through one tracking forward, as in FixMatch, unless `weak_pass` separates them.
Shape suffixes: U unlabeled batch, C classes, N global unlabeled batch.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.alignment import RunningMean, alignment, mean_prediction
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongViews
from semisonic.contract import Batch, Info, StepOutput
from semisonic_kernels import collectives
from semisonic_kernels.losses import consistency_loss

SMALLEST = 1e-12
"""Of what is divided by: a class may never be guessed, and all images may be equally sure."""


class SoftMatchConfig(WeakStrongViews):
    name: Literal["softmatch"] = "softmatch"
    momentum: float = Field(0.999, ge=0, le=1)
    """m: what p^, mu and var keep of themselves in a step."""
    width: float = Field(2.0, ge=0, le=1e6)
    """n: the curve's width is a standard deviation by this. 0 = every pseudo-label counts whole; large = those above mu
    alone."""
    align: bool = True
    """Measure how sure a label is after its distribution is aligned to a uniform one."""


class SoftMatch(WeakStrong):
    Config = SoftMatchConfig
    cfg: SoftMatchConfig
    micro_batches = False  # mu, var and p^ have the whole batch in them
    spread_2: Tensor
    """mu and var [2]."""

    @classmethod
    def aligns(cls, cfg: SoftMatchConfig) -> bool:
        return cfg.align

    def setup(self, info: Info) -> None:
        self.register_buffer("spread_2", torch.ones(2))
        self.spread_2[0] = 1 / info.classes
        self.mean = RunningMean(0, self.cfg.momentum, info.classes)

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        logits_UC = self.guessed_logits(weak)
        weight_U, observed = self.weights(logits_UC)
        guess = self.guess_from(logits_UC, weights_U=weight_U)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(strong), guess.targets, guess.mask)
        loss = labeled + self.cfg.weight * unlabeled

        mu, var = observed["spread"][0]
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "confidence_mean": mu,
            "confidence_deviation": var.sqrt(),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, observed, seen_by(x, batch.y, weak, strong, guess))

    @torch.no_grad()
    def weights(self, logits_UC: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """w [U], and what `update` commits, from this rank's share of the logits."""
        mean_C = mean_prediction(logits_UC)
        if self.cfg.align:
            uniform_C = torch.full_like(mean_C, 1 / self.info.classes)
            logits_UC = logits_UC + alignment(uniform_C, self.mean.running(mean_C), SMALLEST)
        confidence_U = logits_UC.softmax(-1).amax(-1)
        confidence_N = collectives.gather(confidence_U)
        batch_2 = torch.stack([confidence_N.mean(), confidence_N.var(correction=min(1, len(confidence_N) - 1))])
        spread_2 = self.cfg.momentum * self.spread_2 + (1 - self.cfg.momentum) * batch_2
        below_U = (confidence_U - spread_2[0]).clamp(max=0)
        weight_U = (-0.5 * self.cfg.width**2 * below_U.square() / spread_2[1].clamp(min=SMALLEST)).exp()
        return weight_U, {"spread": spread_2[None], "mean": mean_C[None]}

    def update(self, observed: dict[str, Tensor]) -> None:
        self.spread_2.copy_(observed["spread"][0])  # the same of every rank
        self.mean.push_mean(observed["mean"])

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """SoftMatch: FixMatch's settings, all pseudo-labels weighed by how sure they are.

        Cost: 1. Error [U]: CIFAR-10 5.06 (40), 4.84 (250), 4.27 (4,000); SVHN (extra) 2.31 (40), 2.15 (250), 2.08
        (1,000); CIFAR-100, on WRN-28-2, 49.64 (400), 33.05 (2,500), 27.26 (10,000).
        The average of short runs was chosen on the digits, 400 steps, seeds 10 and 11, with an error of 3.1 % for
        momentum 0.99 and 3.25 % for 0.999.
        """
        return {"algorithm": setting.quoted_view | setting.averages()}
