"""FixMatch: consistency and confidence (Sohn et al. 2020, arXiv 2001.07685).

    q   = softmax(f(weak(u))), no gradient
    L_u = mean over all U of 1[max q >= threshold] * H(argmax q, softmax(f(strong(u))))
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * L_u

All three views go through one forward, so they share BatchNorm statistics, unless `weak_pass` separates them. Masked
samples count in the mean.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Batch, StepOutput
from semisonic_kernels.losses import consistency_loss


class FixMatchConfig(WeakStrongConfig):
    name: Literal["fixmatch"] = "fixmatch"


class FixMatch(WeakStrong):
    Config = FixMatchConfig
    cfg: FixMatchConfig

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        guess = self.guess_labels(weak, self.cfg.threshold)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(strong), guess.targets, guess.mask)
        loss = labeled + self.cfg.weight * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {}, seen_by(x, batch.y, weak, strong, guess))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """FixMatch: the recipe itself.

        Cost: 1. Error [F]: CIFAR-10 13.81 +- 3.37 (40), 5.07 +- 0.65 (250), 4.26 +- 0.05 (4,000); CIFAR-100 48.85 +-
        1.75 (400), 28.29 +- 0.11 (2,500), 22.60 +- 0.12 (10,000); SVHN 3.96 +- 2.17 (40), 2.48 +- 0.38 (250), 2.28 +-
        0.11 (1,000); STL-10 7.98 +- 1.50 (1,000).
        """
        return {}
