"""FlexMatch: curriculum pseudo-labeling with a threshold for each class (Zhang et al. 2021, arXiv 2110.08263).

    s_i     the class that sample i of the pool was last given with a confidence of at least tau; -1: none yet
    sigma_c = number of i with s_i = c
    beta_c  = sigma_c / max(max_c sigma_c, number of i with s_i = -1)      (threshold warm-up)
            = sigma_c / max_c sigma_c                                      (without)
    T_c     = tau * M(beta_c),   M(b) = b / (2 - b)
    L_u     = mean over all U of 1[max q >= T_(argmax q)] * H(argmax q, p(strong(u))),   q = p(weak(u)), no gradient
    L       = mean_B H(y, p(weak(x))) + weight * L_u

A step's thresholds come from the table before the step. With warm-up all start at 0, so that every sample counts
at first. The table is one for all ranks. Of a sample that is twice in a batch, the last one that reaches tau counts.
All three views go through one tracking forward, as in FixMatch, unless `weak_pass` separates them.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, P pool.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Batch, Guess, Info, StepOutput
from semisonic_kernels.losses import consistency_loss


class FlexMatchConfig(WeakStrongConfig):
    name: Literal["flexmatch"] = "flexmatch"
    threshold: float = Field(0.95, ge=0, le=2)
    """tau: the highest threshold, and the confidence from which a sample counts as learned."""
    warm_up: bool = True
    """While most of the pool is not learned, lower all thresholds by how much is."""
    mapping: Literal["convex", "linear", "concave"] = "convex"
    """M: b / (2 - b), b, or log2(1 + b)."""


class FlexMatch(WeakStrong):
    Config = FlexMatchConfig
    cfg: FlexMatchConfig
    learned: Tensor

    def setup(self, info: Info) -> None:
        self.register_buffer("learned", torch.full((info.unlabeled,), -1, dtype=torch.int64))

    def thresholds(self) -> Tensor:
        """T_c, float64 [C]."""
        counts = self.learned.new_zeros(self.info.classes + 1)
        counts = counts.scatter_add(0, self.learned + 1, torch.ones_like(self.learned))
        unlearned, sigma_C = counts[0], counts[1:].double()
        largest = torch.maximum(sigma_C.max(), unlearned) if self.cfg.warm_up else sigma_C.max()
        beta_C = sigma_C / largest.clamp(min=1)
        mapped_C = {"convex": beta_C / (2 - beta_C), "linear": beta_C, "concave": (1 + beta_C).log2()}
        return self.cfg.threshold * mapped_C[self.cfg.mapping]

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        threshold_C = self.thresholds()
        guess = self.guess_labels(weak, threshold_C)
        learned_U = guess.confidence >= self.cfg.threshold

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled, further = self.unlabeled_loss(self.trained_logits(strong), guess)
        loss = labeled + self.cfg.weight * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "threshold": threshold_C.float(),
            "learned": (self.learned >= 0).float().mean(),
            **further,
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        observed = {"index": batch.u_index, "label": torch.where(learned_U, guess.labels, -1)}
        return StepOutput(loss, metrics, observed, seen_by(x, batch.y, weak, strong, guess))

    def unlabeled_loss(self, logits_UC: Tensor, guess: Guess) -> tuple[Tensor, dict[str, Tensor]]:
        """L_u, 0-d, of the strong views' logits, and further metrics."""
        return consistency_loss(logits_UC, guess.targets, guess.mask), {}

    def update(self, observed: dict[str, Tensor]) -> None:
        index_U, label_U = observed["index"], observed["label"]
        position_U = torch.where(label_U >= 0, torch.arange(len(label_U), device=label_U.device), -1)
        # An assignment by index would keep any one of a sample's duplicates; the maximum is the last of them.
        last_P = torch.full_like(self.learned, -1).scatter_reduce(0, index_U, position_U, "amax")
        self.learned.copy_(torch.where(last_P >= 0, label_U[last_P.clamp(min=0)], self.learned))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """FlexMatch: FixMatch's settings, thresholds by class, TorchSSL's strong view. On SVHN low thresholds hurt.

        Cost: 1. Error [T]: CIFAR-10 4.97 +- 0.06 (40), 4.98 (250), 4.19 (4,000); CIFAR-100 39.94 +- 1.62 (400), 26.49
        (2,500), 21.90 (10,000); SVHN (extra) 8.19 +- 3.2 (40), 6.59 (250), 6.72 (1,000); STL-10 5.77 (1,000).
        Pre-trained transformers, as [U]: the recipes usb-*.
        """
        return {"algorithm": setting.quoted_view}
