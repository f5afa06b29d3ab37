"""Mean Teacher: the average of the network teaches it (Tarvainen and Valpola 2017, arXiv 1703.01780).

    q   = softmax(f~(weak_1(u))), f~ the EMA network in training mode, no gradient
    L_u = mean over U and C of (q - softmax(f(weak_2(u))))^2
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * r(t) * L_u

r rises linearly from 0 to 1 over `ramp`, steps or a share of the run. The decay of the EMA is the run's `ema.decay`;
`ema.start_up=mean_teacher` is the paper's min(decay, 1 - 1/(t+1)).
Weight, ramp, optimizer and network are those of the comparisons of FixMatch's authors and TorchSSL. The paper itself
asks for the consistency of labeled images as well as unlabeled ones, has a weight of 100 times the labeled share that
rises as exp(-5 (1 - t)^2), a decay of 0.99 while it rises and 0.999 after, Adam, and a network with noise and dropout.
The student's forward of x and weak_2(u) tracks BatchNorm's running statistics. The teacher is given x with weak_1(u)
likewise, so that its batch statistics are those of the same kind of batch, and moves none; see `statistics`.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

import torch
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


class MeanTeacherConfig(Config):
    name: Literal["mean-teacher"] = "mean-teacher"
    weight: float = Field(50.0, ge=0, le=1e6)
    """Weight of the unlabeled loss after the ramp."""
    ramp: float = Field(0.4, ge=0, le=1e9)
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start."""
    statistics: Statistics = "all"
    """all: one forward of each network, BatchNorm statistics of all its images; labeled: of each stream by itself,
    and only the labeled images move the running ones."""
    weak: str = "weak"
    """Augmentation of all views."""


class MeanTeacher(Algorithm):
    Config = MeanTeacherConfig
    cfg: MeanTeacherConfig
    open_to = LABELED

    @classmethod
    def views(cls, cfg: MeanTeacherConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"teacher": cfg.weak, "student": cfg.weak})

    @classmethod
    def sees(cls, cfg: MeanTeacherConfig) -> tuple[str, ...]:
        return ("labeled",)

    def loss(self, batch: Batch) -> StepOutput:
        x, student = look_at_streams(self, batch.x["weak"], batch.u["student"], statistics=self.cfg.statistics)
        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = probability_mse(student.logits, soft_labels(self.teach(batch)))
        ramp = linear_ramp(self.step, self.cfg.ramp, self.info.steps)
        loss = labeled + self.cfg.weight * ramp * unlabeled

        metrics = loss_metrics(labeled, unlabeled, x.logits, batch.y)
        return StepOutput(loss, metrics, {}, {"labeled": x._replace(targets=batch.y)})

    @torch.no_grad()
    def teach(self, batch: Batch) -> torch.Tensor:
        """The teacher's logits [U, C]."""
        if self.cfg.statistics == "labeled":
            return self.classify(batch.u["teacher"], module="ema")[0]
        return self.classify(batch.x["weak"], batch.u["teacher"], module="ema")[1]

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Mean Teacher: 64 + 64 images, weight 50, the EMA's decay corrected at the start, labeled statistics.

        Cost: 0.16. Error [T]: CIFAR-10 70.09 (40), 37.46 (250), 8.10 (4,000); CIFAR-100 81.11 (400), 45.17 (2,500),
        31.75 (10,000); SVHN (extra) 36.09 (40), 3.45 (250), 3.27 (1,000); STL-10 33.90 (1,000).
        """
        if not setting.paper:
            return setting.teacher()
        return ONE_TO_ONE | {"ema": {"start_up": "mean_teacher"}, "algorithm": {"statistics": "labeled"}}
