"""FreeMatch without its fairness term: thresholds that follow the confidence (Wang et al. 2023, arXiv 2205.07246).

    tau   <- m tau   + (1 - m) * mean over all U of max q
    p_c   <- m p_c   + (1 - m) * mean over all U of q_c            both start at 1/C
    T_c   =  tau * p_c / max_c p_c
    L_u   =  mean over all U of 1[max q >= T_(argmax q)] * H(argmax q, p(strong(u))),   q = p(weak(u)), no gradient

A step's thresholds come from the state before the step. The means are of the whole batch, of all ranks.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semisonic import register
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import consistency_loss, pseudo_labels


class OwnFreeMatchConfig(Config):
    name: Literal["own-freematch"] = "own-freematch"
    momentum: float = Field(0.999, ge=0, lt=1)
    """m: what the running means keep of themselves in a step."""
    weight: float = Field(1.0, ge=0)
    """Weight of the unlabeled loss."""
    weak: str = "weak"
    """Augmentation of the labeled images and of the views that give pseudo-labels."""
    strong: str = "fixmatch"
    """Augmentation of the views that are trained on pseudo-labels."""


class OwnFreeMatch(Algorithm):
    Config = OwnFreeMatchConfig
    cfg: OwnFreeMatchConfig
    tau: Tensor
    p_model: Tensor

    @classmethod
    def views(cls, cfg: OwnFreeMatchConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"weak": cfg.weak, "strong": cfg.strong})

    def setup(self, info: Info) -> None:
        self.register_buffer("tau", torch.tensor(1 / info.classes))
        self.register_buffer("p_model", torch.full((info.classes,), 1 / info.classes))

    def loss(self, batch: Batch) -> StepOutput:
        logits_BC, weak_UC, strong_UC = self.classify(batch.x["weak"], batch.u["weak"], batch.u["strong"])
        threshold_C = self.tau * self.p_model / self.p_model.max()
        label_U, _, mask_U = pseudo_labels(weak_UC, threshold_C)

        labeled = F.cross_entropy(logits_BC, batch.y)
        unlabeled = consistency_loss(strong_UC, label_U, mask_U)
        metrics = {
            **loss_metrics(labeled, unlabeled, logits_BC, batch.y),
            "threshold": threshold_C.float(),
            **pseudo_label_metrics(label_U, mask_U, batch.u_true, self.info.classes),
        }
        q_UC = weak_UC.detach().softmax(-1)
        return StepOutput(labeled + self.cfg.weight * unlabeled, metrics, self.observations(q_UC))

    def observations(self, q_UC: Tensor) -> dict[str, Tensor]:
        return {"q": q_UC}

    def update(self, observed: dict[str, Tensor]) -> None:
        q_UC = observed["q"]
        self.tau.lerp_(q_UC.amax(-1).mean().to(self.tau.dtype), 1 - self.cfg.momentum)
        self.p_model.lerp_(q_UC.mean(0).to(self.p_model.dtype), 1 - self.cfg.momentum)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """FreeMatch: FixMatch's settings, thresholds by class that follow the confidence."""
        return {"optim": {"lr": 0.02}} if setting.recipe == "digits" else {}


register.algorithm("own-freematch", OwnFreeMatch)
