"""FreeMatch: thresholds that rise with the network's confidence, and fair guesses (Wang et al. 2023, arXiv 2205.07246).

    tau <- m tau + (1 - m) mean max q         (or, in place of the mean, a quantile)
    p~  <- m p~  + (1 - m) mean q
    h~  <- m h~  + (1 - m) histogram of argmax q                   q = p(weak(u)), no gradient; all begin at 1 / C
    T_c = tau * p~_c / max_c p~_c
    L_u = mean over all U of 1[max q >= T_(argmax q)] * H(argmax q, p(strong(u)))
    L_f = sum_c N(p~ / h~)_c * log N(p- / h-)_c
    L   = mean_B H(y, p(weak(x))) + weight * L_u + fairness * L_f

p- is the mean of the p(strong(u)) that count, and h- the histogram of their argmax. N scales to a sum of 1; what is
divided by 0 is 0, the logarithm's argument is at least 1e-12, and L_f is 0 where no sample counts. It falls as classes
that are predicted too often lose probability. A step's thresholds have its own batch in them; batches are those of all
ranks, and so are p- and h-, with their gradient. So no micro-batches are taken.
All three views go through one tracking forward, as in FixMatch, unless `weak_pass` separates them.
Shape suffixes: U unlabeled batch, C classes, S = 1 + 2 C.
"""

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Batch, Info, StepOutput
from semisonic_kernels import collectives
from semisonic_kernels.losses import consistency_loss, one_hot

SMALLEST = 1e-12
"""Of what a logarithm is taken."""


class FreeMatchConfig(WeakStrongConfig):
    name: Literal["freematch"] = "freematch"
    threshold: float = Field(1.0, ge=0, le=2)
    """The most that tau becomes: 0.95 on SVHN, 1 elsewhere; 0 lets every image count."""
    momentum: float = Field(0.999, ge=0, le=1)
    """m: what tau, p~ and h~ keep of themselves in a step."""
    quantile: float | None = Field(None, gt=0, le=1)
    """tau follows this quantile of a batch's confidences in place of their mean."""
    fairness: float = Field(0.001, ge=0, le=1e6)
    """Weight of the penalty on uneven predictions."""


class Averages(NamedTuple):
    """What FreeMatch remembers."""

    tau: Tensor
    """0-d."""
    p_C: Tensor
    h_C: Tensor


class FreeMatch(WeakStrong):
    Config = FreeMatchConfig
    cfg: FreeMatchConfig
    micro_batches = False  # thresholds and L_f have the whole batch in them
    averages_S: Tensor
    """tau, p~ and h~, one after the other [S]."""

    def setup(self, info: Info) -> None:
        self.register_buffer("averages_S", torch.full((1 + 2 * info.classes,), 1 / info.classes))

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        logits_UC = self.guessed_logits(weak)
        averages_S = self.moved(logits_UC)
        averages = self.parts(averages_S)
        threshold_C = averages.tau * averages.p_C / averages.p_C.max()
        guess = self.guess_from(logits_UC, threshold_C)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        trained_UC = self.trained_logits(strong)
        unlabeled = consistency_loss(trained_UC, guess.targets, guess.mask)
        fairness = fairness_loss(trained_UC, guess.mask, averages)
        loss = labeled + self.cfg.weight * unlabeled + self.cfg.fairness * fairness

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_fairness": fairness.detach(),
            "threshold": threshold_C,
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {"averages": averages_S[None]}, seen_by(x, batch.y, weak, strong, guess))

    @torch.no_grad()
    def moved(self, logits_UC: Tensor) -> Tensor:
        """The averages [S] after this batch, of which the logits are this rank's share."""
        q_UC = logits_UC.softmax(-1)
        confidence_U, label_U = q_UC.max(-1)
        histogram_C = one_hot(label_U, self.info.classes).to(q_UC.dtype).mean(0)
        batch_S = collectives.mean(torch.cat([confidence_U.mean()[None], q_UC.mean(0), histogram_C]))
        if self.cfg.quantile is not None:
            quantile = collectives.gather(confidence_U).quantile(self.cfg.quantile)
            batch_S = torch.cat([quantile[None], batch_S[1:]])
        averages_S = self.cfg.momentum * self.averages_S + (1 - self.cfg.momentum) * batch_S
        return torch.cat([averages_S[:1].clamp(max=self.cfg.threshold), averages_S[1:]])

    def parts(self, averages_S: Tensor) -> Averages:
        tau, p_C, h_C = averages_S.split([1, self.info.classes, self.info.classes])
        return Averages(tau[0], p_C, h_C)

    def update(self, observed: dict[str, Tensor]) -> None:
        self.averages_S.copy_(observed["averages"][0])  # the same of every rank

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """FreeMatch: FixMatch's settings, thresholds that rise by themselves, USB's strong view; on SVHN up to 0.95.

        Cost: 1. Error [U]: CIFAR-10 4.97 (40), 4.85 (250), 4.14 (4,000); SVHN (extra) 3.79 (40), 4.09 (250), 4.31
        (1,000); CIFAR-100, on WRN-28-2, 49.24 (400), 32.79 (2,500), 27.17 (10,000).
        The average of short runs was chosen on the digits, 400 steps, seeds 10 and 11, with an error of 3.25 % for
        momentum 0.99 and for 0.999.
        """
        highest = {"threshold": 0.95} if setting.recipe == "svhn" else {}
        return {"algorithm": setting.quoted_view | setting.averages() | highest}


def fairness_loss(logits_UC: Tensor, mask_U: Tensor, averages: Averages) -> Tensor:
    """L_f of the predictions that count on all ranks, 0-d; logits and mask are this rank's share of them."""
    p_UC, mask_U1 = logits_UC.softmax(-1), mask_U[:, None].to(logits_UC.dtype)
    counted_UC = mask_U1 * one_hot(logits_UC.argmax(-1), logits_UC.shape[1])
    sums_2C = torch.stack([(mask_U1 * p_UC).sum(0), counted_UC.sum(0)])
    sum_C, count_C = collectives.gather_with_gradient(sums_2C[None]).sum(0)
    # Sums do for means: their number is a factor, which N takes out.
    target_C, found_C = scaled(averages.p_C, averages.h_C), scaled(sum_C, count_C)
    penalty: Tensor = (target_C * found_C.clamp(min=SMALLEST).log()).sum() * (count_C.sum() > 0)
    return penalty


def scaled(p_C: Tensor, h_C: Tensor) -> Tensor:
    """N(p / h) [C]."""
    ratio_C = torch.where(h_C > 0, p_C / torch.where(h_C > 0, h_C, 1), 0)
    return ratio_C / ratio_C.sum().clamp(min=SMALLEST)
