"""The supervised baseline: cross-entropy on the labelled images alone.

    L = mean_B H(y, p(weak(x)))

With all labels it is the fully-supervised bound; with the split of a semi-supervised run it is the baseline
that shows what the unlabelled images bring.
Shape suffixes: B labelled batch, C classes.
"""

from typing import Literal

from pydantic import Field
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm, Batch, StepOutput, Views
from semisonic.schema import Config


class SupervisedConfig(Config):
    name: Literal["supervised"] = "supervised"
    view: str = "weak"
    """Augmentation of the labelled images."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """s in y <- (1-s) y + s/C."""


class Supervised(Algorithm):
    Config = SupervisedConfig

    @classmethod
    def views(cls, cfg: SupervisedConfig) -> Views:
        return Views(labelled={"weak": cfg.view})

    def loss(self, batch: Batch) -> StepOutput:
        (logits_BC,) = self.classify(batch.x["weak"])
        loss = F.cross_entropy(logits_BC, batch.y, label_smoothing=self.cfg.label_smoothing)
        accuracy = logits_BC.detach().argmax(-1).eq(batch.y).float().mean()
        return StepOutput(loss, {"labelled_accuracy": accuracy}, {})
