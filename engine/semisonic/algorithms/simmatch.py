"""SimMatch: labels agree with those of similar labeled images (Zheng et al. 2022, arXiv 2203.06915).

    z, p   embedding, and aligned prediction of the weak view, as in neighbors.py; b_k the bank, l_k its labels
    d_k    = softmax_k(z(weak(u)) b_k / T)
    q      = alpha p + (1 - alpha) sum over k with l_k = c of d_k           labels by the class
    q'_k   = d_k p_(l_k), normalized over k                                 labels by the single image
    L_u    = mean over all U of 1[max q >= threshold] * H(q, p(strong(u)))
    L_in   = mean over all U of H(q', softmax_k(z(strong(u)) b_k / T))
    L      = mean_B H(y, p(weak(x))) + weight * L_u + instance_weight * L_in
    after the step: b_i <- normalize(m b_i + (1 - m) z(weak(x_i)))

Labels carry no gradient, and the bank none: L_in teaches the strong view alone. Up to the step `wait`, the paper's
first epoch, q is p and L_in counts 0. The bank is one for all ranks, with a row for each labeled image, which has no
part until the image was visited; the z of an image that comes several times in a batch are averaged first. As in the
paper on small images, there is no averaged teacher. `projectors 3` is EPASS.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, L labeled set, P dimensions of z.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.banks import Bank
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.neighbors import Neighbors, NeighborsConfig, positive
from semisonic.algorithms.ramps import ramp_length, shares_of_the_run
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Info, StepOutput
from semisonic_kernels.losses import consistency_loss


class SimMatchConfig(NeighborsConfig):
    name: Literal["simmatch"] = "simmatch"
    instance_weight: float = Field(1.0, ge=0, le=1e6)
    """Weight of the agreement on single images, L_in."""
    temperature: float = Field(0.1, gt=0, le=100)
    """Divides the cosines of embeddings (T)."""
    dimensions: int = Field(128, ge=1, le=2**16)
    """Of the embedding."""
    momentum: float = Field(0.7, ge=0, lt=1)
    """m, the weight of a row's past when its image is visited."""
    wait: float = Field(0.001, ge=0, le=1e9)
    """Steps until the bank teaches; up to 1 a share of the run. The paper's is 1,024 of 2^20 steps."""


class SimMatch(Neighbors):
    Config = SimMatchConfig
    cfg: SimMatchConfig

    def setup(self, info: Info) -> None:
        super().setup(info)
        self.bank = Bank(info.labeled, self.cfg.dimensions)

    @classmethod
    def depends_on_steps(cls, cfg: SimMatchConfig) -> list[str]:
        return shares_of_the_run(cfg, "wait")

    @classmethod
    def ramped(cls, cfg: SimMatchConfig, steps: int) -> float:
        return ramp_length(cfg.wait, steps)

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        with torch.no_grad():
            x_BP, weak_UP = self.embed(x, weak)
        (strong_UP,) = self.embed(strong)
        p_UC, mean_C = self.predicted(weak)
        q_UC, instance_UL, teaches = self.labels_from_bank(p_UC, weak_UP)
        guess = self.guess(q_UC)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = consistency_loss(self.trained_logits(strong), guess.targets, guess.mask)
        instance = consistency_loss(self.bank.similarities(strong_UP, self.cfg.temperature), instance_UL)
        loss = labeled + self.cfg.weight * unlabeled + self.cfg.instance_weight * teaches.to(p_UC.dtype) * instance

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_instance": instance.detach(),
            "bank_visited": self.bank.visited().float().mean(),
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        observed = {"mean": mean_C[None], "index": batch.x_index, "z": x_BP, "label": batch.y}
        return StepOutput(loss, metrics, observed, seen_by(x, batch.y, weak, strong, guess))

    @torch.no_grad()
    def labels_from_bank(self, p_UC: Tensor, z_UP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q [U, C] and q' [U, L] of weak views, and whether the bank teaches yet, 0-d bool."""
        alpha, wait = self.cfg.own_share, ramp_length(self.cfg.wait, self.info.steps)
        teaches = (self.step >= wait) & self.bank.visited().any()
        d_UL = self.bank.similarities(z_UP, self.cfg.temperature).softmax(-1)
        q_UC = torch.where(teaches, alpha * p_UC + (1 - alpha) * self.bank.by_class(d_UL, p_UC.shape[1]), p_UC)
        instance_UL = d_UL * self.bank.of_label(p_UC)
        # Where an image is certainly of a class of which the bank has none, all is 0, and so is its loss.
        return q_UC, instance_UL / positive(instance_UL.sum(1, keepdim=True)), teaches

    def update(self, observed: dict[str, Tensor]) -> None:
        self.push_mean(observed["mean"])
        self.bank.visit(observed["index"], observed["z"], observed["label"], self.cfg.momentum)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """SimMatch: FixMatch's settings, temperature 0.1, on CIFAR-100 and for transformers 0.2.

        Cost: 1. Error [U], with a bank that is normalized over the batch: CIFAR-10 5.18 (40), 4.99 (250), 4.51 (4,000);
        SVHN (extra) 3.19 (40), 2.26 (250), 2.08 (1,000); CIFAR-100, on WRN-28-2, 48.82 (400), 32.54 (2,500), 26.42
        (10,000). Of the method itself, as ShrinkMatch's repository lists it: CIFAR-10 5.61 (40); CIFAR-100 37.81 (400),
        on WRN-28-8. With --algorithm.projectors 3 it is EPASS's, of which no error is known on these sets. On the
        digits and Fashion-MNIST the method's fields are CIFAR-10's; none was chosen anew.
        """
        own: Changes = {"wait": 1024.0} if setting.paper else {}
        own |= {"temperature": 0.2} if setting.recipe == "cifar100" or setting.usb else {}
        return {"algorithm": own | setting.quoted_view}
