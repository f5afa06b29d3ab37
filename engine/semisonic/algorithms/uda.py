"""UDA: unsupervised data augmentation with training signal annealing (Xie et al. 2019, arXiv 1904.12848).

    q   = softmax(f(weak(u)) / temperature), no gradient
    L_u = mean over all U of 1[max softmax(f(weak(u))) >= threshold] * KL(q || softmax(f(strong(u))))
    L_x = sum_B k H(y, p(weak(x))) / max(1, sum_B k),  k = 1[p_y <= eta(t)],  eta(t) = a(t) (1 - 1/C) + 1/C
    a(t) = t/T (linear), exp(5 (t/T - 1)) (exp), 1 - exp(-5 t/T) (log); without annealing all count
    L   = L_x + weight * L_u

Annealing holds back labeled images that the network has learned already, so that few labels are not overfitted: k
looks at the probability of the true class, which counts as equal to eta where only rounding tells them apart. The
number kept is that of all ranks, so that no micro-batches are taken. The threshold is compared with the probability
before the temperature. All three views go through one forward, so they share BatchNorm statistics, unless `weak_pass`
separates them. Masked samples count in the mean of L_u.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Batch, Seen, StepOutput
from semisonic_kernels import collectives
from semisonic_kernels.losses import kl_divergence

ROUNDING = 16
"""Units of rounding by which exp(-H(y, p)) may be above p_y; it is 4 for uniform predictions of 2 to 20,000 classes."""


class UDAConfig(WeakStrongConfig):
    name: Literal["uda"] = "uda"
    threshold: float = Field(0.8, ge=0, le=2)
    """Confidence from which an unlabeled image counts; above 1 none does."""
    temperature: float = Field(0.4, gt=0, le=100)
    """Sharpens the targets; 1 leaves them as they are, near 0 they are FixMatch's."""
    annealing: Literal["none", "linear", "exp", "log"] = "none"
    """Training signal annealing: how the probability up to which a labeled image counts rises from 1/C to 1. exp holds
    back longest, for very few labels; log shortest."""


class UDA(WeakStrong):
    Config = UDAConfig
    cfg: UDAConfig
    open_to = (*LOGITS, "mask")

    @classmethod
    def takes_micro_batches(cls, cfg: UDAConfig) -> bool:
        return cls.micro_batches and cfg.annealing == "none"

    @classmethod
    def ramped(cls, cfg: UDAConfig, steps: int) -> float:
        """Annealing takes the whole run."""
        return 0.0 if cfg.annealing == "none" else steps

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        guess = self.guess_labels(weak, self.cfg.threshold)

        labeled, kept = self.annealed(x, batch.y, batch.x_index)
        divergence_U = kl_divergence(guess.logits / self.cfg.temperature, self.trained_logits(strong))
        unlabeled = (guess.mask * divergence_U).mean()
        loss = labeled + self.cfg.weight * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "labeled_kept": kept,
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {}, seen_by(x, batch.y, weak, strong, guess))

    def annealed(self, x: Seen, label_B: Tensor, index_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The labeled loss, and the share of the labeled images that count in it; both 0-d."""
        losses_B = F.cross_entropy(self.labeled_logits(x), label_B, reduction="none")
        weights_B = self.labeled_weights(label_B, index_B)
        if self.cfg.annealing == "none":
            losses_B = losses_B if weights_B is None else weights_B * losses_B
            return losses_B.mean(), torch.ones_like(losses_B[0])
        # A network that knows nothing gives each class 1/C, which is eta(0): rounding must not hold its images back.
        ceiling = self.ceiling() * (1 + ROUNDING * torch.finfo(losses_B.dtype).eps)
        kept_B = ((-losses_B.detach()).exp() <= ceiling).to(losses_B.dtype)
        # A rank's share of a mean over the global number: the mean over the ranks of the quotients is that mean.
        kept = collectives.mean(kept_B.sum()).clamp(min=1 / collectives.ranks())
        counted_B = kept_B if weights_B is None else kept_B * weights_B
        return (counted_B * losses_B).sum() / kept, kept_B.mean()

    @classmethod
    def depends_on_steps(cls, cfg: UDAConfig) -> list[str]:
        return [] if cfg.annealing == "none" else ["annealing"]

    def ceiling(self) -> Tensor:
        """eta(t), the probability of the true class up to which a labeled image counts: 0-d float64."""
        done = self.step.double() / self.info.steps
        risen = {"linear": done, "exp": (5 * (done - 1)).exp(), "log": 1 - (-5 * done).exp()}[self.cfg.annealing]
        return risen * (1 - 1 / self.info.classes) + 1 / self.info.classes

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Unsupervised data augmentation: FixMatch's batch and optimizer, threshold 0.8, temperature 0.4, no annealing.

        Cost: 1. Error [F]: CIFAR-10 29.05 +- 5.93 (40), 8.82 +- 1.08 (250), 4.88 +- 0.18 (4,000); CIFAR-100 59.28
        (400), 33.13 (2,500), 24.50+ (10,000); SVHN 52.63+ (40), 5.69+ (250), 2.46+ (1,000); STL-10 7.66 (1,000). With
        --algorithm.strong usb [T]: CIFAR-10 10.62 (40), 5.16 (250), 4.29 (4,000).
        """
        return {}
