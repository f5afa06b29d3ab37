"""The Pi-Model: two views of an image get the same prediction (Laine and Aila 2016, arXiv 1610.02242).

    p_k = softmax(f(weak_k(u))), k = 1, 2; p_1 without gradient
    L_u = mean over U and C of (p_1 - p_2)^2
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * r(t) * L_u

r rises linearly from 0 to 1 over `ramp`, steps or a share of the run. Weight and ramp are those of the comparisons of
FixMatch's authors; the paper has a weight of 100 and the ramp exp(-5 (1 - t)^2).
By default one forward of all three views tracks BatchNorm's running statistics; see `statistics`.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

from pydantic import Field

from semisonic.algorithms.add_on import LABELED
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ONE_TO_ONE, Changes, Setting
from semisonic.algorithms.streams import Statistics, look_at_streams
from semisonic.contract import Batch, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import probability_mse, soft_labels


class PiModelConfig(Config):
    name: Literal["pi-model"] = "pi-model"
    weight: float = Field(10.0, ge=0, le=1e6)
    """Weight of the unlabeled loss after the ramp."""
    ramp: float = Field(0.4, ge=0, le=1e9)
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start."""
    statistics: Statistics = "all"
    """all: one forward, BatchNorm statistics of all images; labeled: of each stream by itself, and only the labeled
    images move the running ones."""
    weak: str = "weak"
    """Augmentation of all views."""


class PiModel(Algorithm):
    Config = PiModelConfig
    cfg: PiModelConfig
    open_to = LABELED

    @classmethod
    def views(cls, cfg: PiModelConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"first": cfg.weak, "second": cfg.weak})

    @classmethod
    def sees(cls, cfg: PiModelConfig) -> tuple[str, ...]:
        return ("labeled",)

    def loss(self, batch: Batch) -> StepOutput:
        x, first, second = look_at_streams(
            self, batch.x["weak"], batch.u["first"], batch.u["second"], statistics=self.cfg.statistics
        )
        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = probability_mse(second.logits, soft_labels(first.logits))
        ramp = linear_ramp(self.step, self.cfg.ramp, self.info.steps)
        loss = labeled + self.cfg.weight * ramp * unlabeled

        metrics = loss_metrics(labeled, unlabeled, x.logits, batch.y)
        return StepOutput(loss, metrics, {}, {"labeled": x._replace(targets=batch.y)})

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Pi-Model: 64 + 64 images, weight 10, ramp over 0.4 of the run, statistics of labeled images.

        Cost: 0.16 to 0.20. Error [T]: CIFAR-10 74.34 (40), 46.24 (250), 13.13 (4,000); CIFAR-100 86.96 (400), 58.80
        (2,500), 36.65 (10,000); SVHN (extra) 67.48 (40), 13.30 (250), 7.16 (1,000); STL-10 32.78 (1,000).
        """
        return ONE_TO_ONE | {"algorithm": {"statistics": "labeled"}} if setting.paper else {}
