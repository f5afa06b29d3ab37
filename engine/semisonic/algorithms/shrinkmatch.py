"""ShrinkMatch: what is not certain is, among fewer classes (Yang et al. 2023, arXiv 2308.06777).

    q     = normalize(p(weak(u)) / p_run), no gradient; p_run = mean of the last 32 batches' mean p, this one's included
    m     = 1[max q >= threshold]
    L_u   = mean over all U of m * H(q, p(strong(u)))
    S     = in q's order class 0, and c .. C-1, with the smallest c > 1 for which q_0 / (q_0 + q_c + ...) >= threshold
    L_shr = mean over all U of (1 - m) q_0 * H(0, softmax over S of g(strong(u))); 0 where there is no such c
    L     = mean_B H(y, p(weak(x))) + weight * L_u + shrink * e_t * L_shr

Of a sample that is not certain the classes are left out that its first is confused with, until it is. e_t is a running
mean of the share of certain samples, which begins at the first batch's and holds the present one. g is a further head,
on the strong views' features (two hidden layers of D/4, BatchNorm, leaky ReLU), which is neither averaged nor exported
and keeps no running statistics. Means and shares are those of the whole batch, so that no micro-batches are taken. All
three views go through one tracking forward, unless `weak_pass` separates them.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, D features, R rows of the window.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.alignment import MeanWindow, alignment, mean_prediction
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Batch, Guess, Info, Seen, StepOutput
from semisonic.models.norm import BatchNorm1d
from semisonic_kernels import collectives
from semisonic_kernels.losses import consistency_loss, shrunk_cross_entropy

SMALLEST = 1e-30
"""Of what a logarithm is taken, where a class has no probability at all."""


class ShrinkMatchConfig(WeakStrongConfig):
    name: Literal["shrinkmatch"] = "shrinkmatch"
    targets: Literal["soft", "hard"] = "soft"
    """What certain samples are trained towards: q, or its most probable class."""
    window: int = Field(32, ge=0, le=10**6)
    """Batches in the running mean of predictions, by which guesses are aligned to equally many of each class; 0 = no
    alignment."""
    shrink: float = Field(1.0, ge=0, le=1e6)
    """Weight of the loss among fewer classes, beside e_t."""
    momentum: float = Field(0.999, ge=0, lt=1)
    """Of e_t, the running share of certain samples."""


class ShrinkMatch(WeakStrong, MeanWindow):
    Config = ShrinkMatchConfig
    cfg: ShrinkMatchConfig
    open_to = (*LOGITS, "mask")
    micro_batches = False  # guesses are aligned to the mean of the whole batch
    share: Tensor
    """e_t after the last step, 0-d."""

    @classmethod
    def aligns(cls, cfg: ShrinkMatchConfig) -> bool:
        return cfg.window > 0

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.auxiliary = auxiliary_head(width, info.classes)
        self.register_buffer("share", torch.zeros(()))
        self.open_window(max(1, self.cfg.window), info.classes)

    def loss(self, batch: Batch) -> StepOutput:
        cfg = self.cfg
        x, weak, strong = self.look_at(batch)
        guess, mean_C = self.guess(weak)
        share = self.running_share(collectives.mean(guess.mask.mean()))

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(strong), guess.targets, guess.mask)
        auxiliary_UC = self.head(strong.features, "auxiliary")
        among_fewer_U = shrunk_cross_entropy(auxiliary_UC, guess.logits.softmax(-1), cfg.threshold)
        shrunk = ((1 - guess.mask) * among_fewer_U).mean()
        loss = labeled + cfg.weight * unlabeled + cfg.shrink * share * shrunk

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_shrunk": shrunk.detach(),
            "certain_share": share,
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        observed = {"mean": mean_C[None], "share": share}
        return StepOutput(loss, metrics, observed, seen_by(x, batch.y, weak, strong, guess))

    @torch.no_grad()
    def guess(self, weak: Seen) -> tuple[Guess, Tensor]:
        """The guess, whose softmax is q, and the global batch's mean prediction [C] before its alignment."""
        logits_UC = self.guessed_logits(weak).detach()
        mean_C = mean_prediction(logits_UC)
        if self.cfg.window:
            uniform_C = torch.full_like(mean_C, 1 / self.info.classes)
            logits_UC = logits_UC + alignment(uniform_C, self.running(mean_C), SMALLEST)
        guess = self.guess_from(logits_UC, self.cfg.threshold)
        return (guess._replace(targets=logits_UC.softmax(-1)) if self.cfg.targets == "soft" else guess), mean_C

    def running_share(self, share: Tensor) -> Tensor:
        """e_t with this batch's share: 0-d."""
        moved = self.cfg.momentum * self.share + (1 - self.cfg.momentum) * share
        return torch.where(self.batches == 0, share, moved)

    def update(self, observed: dict[str, Tensor]) -> None:
        self.push_mean(observed["mean"])
        self.share.copy_(observed["share"])

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """ShrinkMatch: FixMatch's settings, aligned soft labels, and uncertain images among fewer classes.

        Cost: 1. On SVHN without alignment. Error, of the authors' repository (best accuracy of the run): CIFAR-10 5.08
        (40); CIFAR-100 35.36 (400); SVHN 2.51 (40); STL-10 14.02 (40).
        In other runs e_t looks back over a quarter of the run; of a momentum of 0.9, 0.99 and 0.999 on the digits (400
        steps, seed 10) none was better: 4.0, 4.2 and 4.0.
        """
        return {"algorithm": {"window": 0} if setting.recipe == "svhn" else setting.averages()}


def auxiliary_head(features: int, classes: int) -> nn.Module:
    """g: features [N, D] -> logits [N, C]."""
    hidden = max(1, features // 4)

    def norm() -> nn.Module:
        return BatchNorm1d(hidden, track_running_stats=False, slope=0.1)

    return nn.Sequential(
        nn.Linear(features, hidden), norm(), nn.Linear(hidden, hidden), norm(), nn.Linear(hidden, classes)
    )
