"""CoMatch: labels and embeddings teach each other by graphs (Li et al. 2021, arXiv 2011.11183).

    z, p   embedding, and aligned prediction of the weak view, as in neighbors.py; z_k, p_k those of the queue
    q      = alpha p + (1 - alpha) sum_k a_k p_k,   a_k = softmax_k(z(weak(u)) z_k / T)
    L_u    = mean over all U of 1[max q >= threshold] * H(q, p(strong_0(u)))
    W_ij   = q_i q_j, 0 below `graph_threshold`; W_ii = 1;   Q = W with rows normalized
    L_con  = mean over i of -sum_j Q_ij log softmax_j(z(strong_0(u_i)) z(strong_1(u_j)) / T)
    L      = mean_B H(y, p(weak(x))) + weight * L_u + graph_weight * L_con

The queue holds z and p of the weak views of the last 5 steps, and z and y of their labeled images; p is that before
smoothing, by alpha. It is one for all ranks, and written after the step. Until it is full q is p. Labels carry no
gradient. i and j are of the global batch, with gradients through both views, so that the loss is one on any number of
ranks; the authors' is over the images of a GPU. `projectors 3` is EPASS.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, P dimensions of z.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.banks import Queue
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.neighbors import Neighbors, NeighborsConfig
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrongViews
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic_kernels.contrastive import graph_loss
from semisonic_kernels.losses import consistency_loss, one_hot


class CoMatchConfig(NeighborsConfig):
    name: Literal["comatch"] = "comatch"
    graph_weight: float = Field(1.0, ge=0, le=1e6)
    """Weight of the contrastive loss, L_con."""
    graph_threshold: float = Field(0.8, ge=0, le=1)
    """Likeness of labels from which two images attract each other."""
    queue: int = Field(5, ge=1, le=1000)
    """Steps whose images are neighbors."""


class CoMatch(Neighbors):
    Config = CoMatchConfig
    cfg: CoMatchConfig
    growing_batches = False  # the queue has room for so many steps of one size

    @classmethod
    def views(cls, cfg: WeakStrongViews) -> Views:
        strong = {"strong_0": cfg.strong, "strong_1": cfg.strong}
        return Views(labeled=super().views(cfg).labeled, unlabeled={"weak": cfg.weak, **strong})

    def setup(self, info: Info) -> None:
        super().setup(info)
        rows = self.cfg.queue * (info.labeled_batch + info.unlabeled_batch)
        self.queue = Queue(rows, z=self.cfg.dimensions, p=info.classes)

    def loss(self, batch: Batch) -> StepOutput:
        cfg, views = self.cfg, (batch.u["strong_0"], batch.u["strong_1"])
        (x,), weak, (first, second) = self.look_at_views([batch.x[cfg.labeled_view]], batch.u["weak"], views)
        with torch.no_grad():
            x_BP, weak_UP = self.embed(x, weak)
        first_UP, second_UP = self.embed(first, second)
        p_UC, mean_C = self.predicted(weak)
        guess = self.guess(self.smoothed(p_UC, weak_UP))

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(first), guess.targets, guess.mask)
        contrastive = graph_loss(first_UP, second_UP, guess.targets, cfg.temperature, cfg.graph_threshold)
        loss = labeled + cfg.weight * unlabeled + cfg.graph_weight * contrastive

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_contrastive": contrastive.detach(),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        observed = {"mean": mean_C[None], "z": weak_UP, "p": p_UC, "labeled_z": x_BP, "label": batch.y}
        return StepOutput(loss, metrics, observed, seen_by(x, batch.y, weak, first, guess))

    @torch.no_grad()
    def smoothed(self, p_UC: Tensor, z_UP: Tensor) -> Tensor:
        """q [U, C] of weak views: their predictions with those of their neighbors in the queue, once it is full."""
        alpha, z_RP, p_RC = self.cfg.own_share, self.queue.table("z"), self.queue.table("p")
        near_UR = (z_UP @ z_RP.T.to(z_UP.dtype) / self.cfg.temperature).softmax(-1)
        return torch.where(self.queue.full(), alpha * p_UC + (1 - alpha) * (near_UR @ p_RC.to(p_UC.dtype)), p_UC)

    def update(self, observed: dict[str, Tensor]) -> None:
        self.push_mean(observed["mean"])
        y_NC = one_hot(observed["label"], self.info.classes).to(observed["p"].dtype)
        z_NP = torch.cat([observed["z"], observed["labeled_z"]])
        self.queue.push(z=z_NP, p=torch.cat([observed["p"], y_NC]))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """CoMatch: FixMatch's settings and two strong views; on STL-10 the contrastive loss by 5.

        Cost: 1.5. Error [U]: CIFAR-10 5.44 (40), 5.33 (250), 4.29 (4,000); SVHN (extra) 9.51 (40), 2.21 (250), 1.96
        (1,000); CIFAR-100, on WRN-28-2, 60.98 (400), 37.24 (2,500), 28.15 (10,000). The authors' own, of their code and
        view in half the steps: CIFAR-10 6.91 (40). With --algorithm.projectors 3 it is EPASS's, of which no error is
        known on these sets. On the digits and Fashion-MNIST the method's fields are CIFAR-10's; none was chosen anew.
        """
        own = {"graph_weight": 5.0} if setting.recipe == "stl10" else {}
        return {"algorithm": own | setting.quoted_view}
