"""Temporal Ensembling: an image's past predictions teach it (Laine and Aila 2016, arXiv 1610.02242).

    p   = softmax(f(weak(u)))
    z~i = Z_i / (1 - a^e_i): the running mean of the predictions of image i in its e_i visits so far
    L_u = mean over U and C of (p - z~)^2; images never visited add 0, and count in the mean
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * r(t) * L_u
    at each visit: Z_i <- a Z_i + (1 - a) p_i, e_i <- e_i + 1

Z starts at 0. Every image has its own counter, where the paper counts epochs: the same where each is seen once an
epoch, with no ends of epochs inside a batch. r = exp(-5 (1 - t/T)^2), T = `ramp`, steps or a share of the run.
State: Z, 4 bytes for each image of the pool and class on every rank, and the counters. An image that comes twice in
a batch is visited twice, in the batch's order.
By default one forward of both views tracks BatchNorm's running statistics; see `statistics`.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, N global unlabeled batch, P pool.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import LABELED
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.monitoring import loss_metrics
from semisonic.algorithms.ramps import sigmoid_ramp
from semisonic.algorithms.settings import ONE_TO_ONE, Changes, Setting
from semisonic.algorithms.streams import Statistics, look_at_streams
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.schema import Config


class TemporalEnsemblingConfig(Config):
    name: Literal["temporal-ensembling"] = "temporal-ensembling"
    momentum: float = Field(0.6, ge=0, lt=1)
    """a, the weight of the past at each visit; 0: the last prediction alone is the target."""
    weight: float = Field(30.0, ge=0, le=1e6)
    """Weight of the unlabeled loss after the ramp."""
    ramp: float = Field(0.27, ge=0, le=1e9)
    """Steps over which the weight rises from e^-5 of itself; up to 1, a share of the run (the paper's 80 of 300
    epochs); 0 = the whole weight from the start."""
    statistics: Statistics = "all"
    """all: one forward, BatchNorm statistics of all images; labeled: of each stream by itself, and only the labeled
    images move the running ones."""
    weak: str = "weak"
    """Augmentation of all views."""


class TemporalEnsembling(Algorithm):
    Config = TemporalEnsemblingConfig
    cfg: TemporalEnsemblingConfig
    open_to = LABELED
    table: Tensor
    """Z [P, C], not yet divided by 1 - a^visits."""
    visits: Tensor
    """e [P], int32."""

    @classmethod
    def views(cls, cfg: TemporalEnsemblingConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"weak": cfg.weak})

    @classmethod
    def sees(cls, cfg: TemporalEnsemblingConfig) -> tuple[str, ...]:
        return ("labeled",)

    def setup(self, info: Info) -> None:
        self.register_buffer("table", torch.zeros(info.unlabeled, info.classes))
        self.register_buffer("visits", torch.zeros(info.unlabeled, dtype=torch.int32))

    def loss(self, batch: Batch) -> StepOutput:
        x, u = look_at_streams(self, batch.x["weak"], batch.u["weak"], statistics=self.cfg.statistics)
        p_UC = u.logits.softmax(-1)
        target_UC, visited_U = self.targets(batch.u_index)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = (visited_U[:, None] * (p_UC - target_UC).square()).mean()
        ramp = sigmoid_ramp(self.step, self.cfg.ramp, self.info.steps)
        loss = labeled + self.cfg.weight * ramp * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "visited": visited_U.mean(),
        }
        observed = {"index": batch.u_index, "prediction": p_UC.detach()}
        return StepOutput(loss, metrics, observed, {"labeled": x._replace(targets=batch.y)})

    def targets(self, index_U: Tensor) -> tuple[Tensor, Tensor]:
        """The running means z~ [U, C], and 1 where there is one [U]: an image was visited before."""
        visits_U, rows_UC = self.visits[index_U], self.table[index_U]
        correction_U = 1 - self.cfg.momentum ** visits_U.clamp(min=1).to(rows_UC.dtype)
        return rows_UC / correction_U[:, None], (visits_U > 0).to(rows_UC.dtype)

    def update(self, observed: dict[str, Tensor]) -> None:
        """Visits the rows of the global batch, repeated ones once for each repetition: k visits z_1 .. z_k make

        Z <- a^k Z + (1 - a) sum_j a^(k-j) z_j. A repeated row is written several times, from one and the same sum.
        """
        a, index_N = self.cfg.momentum, observed["index"]
        order_N = torch.arange(len(index_N), device=index_N.device)
        same_NN = index_N[:, None] == index_N
        later_N = (same_NN & (order_N[:, None] < order_N)).sum(1)  # visits of the same row after this one
        first_N = torch.where(same_NN, order_N, len(order_N)).amin(1)
        # float64 so that the product is one on all devices, where float32 may be rounded to TF32.
        new_NC = (1 - a) * a ** later_N.double()[:, None] * observed["prediction"].double()
        sums_NC = (same_NN.double() @ new_NC)[first_N]
        old_NC = a ** same_NN.sum(1).double()[:, None] * self.table[index_N].double()
        self.table[index_N] = (old_NC + sums_NC).to(self.table.dtype)
        self.visits[index_N] = self.visits[index_N] + same_NN.sum(1).to(self.visits.dtype)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Temporal Ensembling: 64 + 64 images, weight 30, SVHN 100, statistics of labeled images.

        Cost: 0.13. There is no published error of this setting: the paper's are of another network, and the 10.70 of
        LAMDA-SSL's tables on CIFAR-10 with 4,000 labels of batches of 100, a linear ramp and logits as targets.
        """
        weight = {"weight": 100.0} if setting.recipe == "svhn" else {}
        return ONE_TO_ONE | {"algorithm": {"statistics": "labeled"} | weight} if setting.paper else {}
