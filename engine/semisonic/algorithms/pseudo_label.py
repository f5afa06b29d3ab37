"""Pseudo-Label: what the network is sure of is taken for true (Lee 2013, ICML workshop on representation learning).

    q   = softmax(f(weak(u)))
    L_u = mean over all U of 1[max q >= threshold] * H(argmax q, q), label and prediction from the same forward
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * r(t) * L_u

r rises linearly from 0 to 1 over `ramp`, steps or a share of the run. Threshold, weight and ramp are those of the
comparisons of FixMatch's authors; Lee takes every label (`threshold` 0) with a weight of 3 and a linear ramp between
the epochs 100 and 600. Masked samples count in the mean.
By default one forward of both views tracks BatchNorm's running statistics; see `statistics`.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

from pydantic import Field

from semisonic.algorithms.add_on import CHANGES
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ONE_TO_ONE, Changes, Setting
from semisonic.algorithms.streams import Statistics, look_at_streams
from semisonic.contract import SEEN, Batch, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import consistency_loss


class PseudoLabelConfig(Config):
    name: Literal["pseudo-label"] = "pseudo-label"
    threshold: float = Field(0.95, ge=0, le=2)
    """Confidence from which a pseudo-label counts; above 1 none does, 0 is Lee's original."""
    weight: float = Field(1.0, ge=0, le=1e6)
    """Weight of the unlabeled loss after the ramp."""
    ramp: float = Field(0.4, ge=0, le=1e9)
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start."""
    statistics: Statistics = "all"
    """all: one forward, BatchNorm statistics of all images; labeled: of each stream by itself, and only the labeled
    images move the running ones."""
    weak: str = "weak"
    """Augmentation of all views."""


class PseudoLabel(Algorithm):
    Config = PseudoLabelConfig
    cfg: PseudoLabelConfig
    open_to = CHANGES

    @classmethod
    def views(cls, cfg: PseudoLabelConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"weak": cfg.weak})

    @classmethod
    def sees(cls, cfg: PseudoLabelConfig) -> tuple[str, ...]:
        return SEEN

    def loss(self, batch: Batch) -> StepOutput:
        x, u = look_at_streams(self, batch.x["weak"], batch.u["weak"], statistics=self.cfg.statistics)
        guess = self.guess_labels(u, self.cfg.threshold)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(u), guess.targets, guess.mask)
        ramp = linear_ramp(self.step, self.cfg.ramp, self.info.steps)
        loss = labeled + self.cfg.weight * ramp * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {}, seen_by(x, batch.y, u, u, guess))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Pseudo-Label: 64 + 64 images, threshold 0.95, ramp over 0.4 of the run, statistics of labeled images.

        Cost: 0.13. Error [T]: CIFAR-10 74.61 (40), 46.49 (250), 15.08 (4,000); CIFAR-100 87.45 (400), 57.74 (2,500),
        36.55 (10,000); SVHN (extra) 64.61 (40), 15.59 (250), 9.40 (1,000); STL-10 32.64 (1,000).
        """
        return ONE_TO_ONE | {"algorithm": {"statistics": "labeled"}} if setting.paper else {}
