"""FreeMatch with the mistake that no test in one process finds: its running means are of rank 0's images alone.

All ranks have the same state, and in one process it is the right one. See `own_freematch.py` for the method.
Shape suffixes: U unlabeled batch, C classes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semisonic import register
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import consistency_loss, pseudo_labels


class LocalFreeMatchConfig(Config):
    name: Literal["local-freematch"] = "local-freematch"
    momentum: float = Field(0.999, ge=0, lt=1)
    weight: float = Field(1.0, ge=0)
    weak: str = "weak"
    strong: str = "fixmatch"


class LocalFreeMatch(Algorithm):
    Config = LocalFreeMatchConfig
    cfg: LocalFreeMatchConfig
    tau: Tensor
    p_model: Tensor

    @classmethod
    def views(cls, cfg: LocalFreeMatchConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"weak": cfg.weak, "strong": cfg.strong})

    def setup(self, info: Info) -> None:
        self.register_buffer("tau", torch.tensor(1 / info.classes))
        self.register_buffer("p_model", torch.full((info.classes,), 1 / info.classes))

    def loss(self, batch: Batch) -> StepOutput:
        logits_BC, weak_UC, strong_UC = self.classify(batch.x["weak"], batch.u["weak"], batch.u["strong"])
        label_U, _, mask_U = pseudo_labels(weak_UC, self.tau * self.p_model / self.p_model.max())

        labeled = F.cross_entropy(logits_BC, batch.y)
        unlabeled = consistency_loss(strong_UC, label_U, mask_U)
        metrics = {
            **loss_metrics(labeled, unlabeled, logits_BC, batch.y),
            **pseudo_label_metrics(label_U, mask_U, batch.u_true, self.info.classes),
        }
        # The mistake: means of this rank's images, where only sums over all ranks' mean the same as one process.
        q_UC, rest = weak_UC.detach().softmax(-1), self.cfg.momentum
        tau = rest * self.tau + (1 - rest) * q_UC.amax(-1).mean()
        p_C = rest * self.p_model + (1 - rest) * q_UC.mean(0)
        observed = {"tau": tau.reshape(1), "p": p_C.reshape(1, -1)}
        return StepOutput(labeled + self.cfg.weight * unlabeled, metrics, observed)

    def update(self, observed: dict[str, Tensor]) -> None:
        self.tau.copy_(observed["tau"][0])
        self.p_model.copy_(observed["p"][0])


register.algorithm("local-freematch", LocalFreeMatch)
