"""MixMatch: guess, sharpen, mix (Berthelot et al. 2019, arXiv 1905.02249).

    q    = sharpen_T(1/K sum_k softmax(f(weak_k(u)))), no gradient; one q for all K views
    W    = random order of X and U = {x with one-hot y} and {weak_k(u) with q}
    lam' = max(lam, 1 - lam), lam ~ Beta(alpha, alpha)
    X', U' = lam' (X, U) + (1 - lam') W, images and targets alike
    L_x  = mean over B of H(y', softmax(f(x')))
    L_u  = mean over KU and classes of (softmax(f(u')) - q')^2
    L    = L_x + weight * ramp(t) * L_u

Since lam' is at least 1/2, the first B mixed images match the labeled targets, and so on.

Two forwards in training mode: the K views of the guess, which moves no running statistics, and all mixed images, which
tracks. The paper trains with Adam at a constant rate of 0.002 and decoupled weight decay (0.02 times the rate), as
`optim` can be set, and evaluates the EMA (0.999). Its weights: 75 CIFAR-10, 150 CIFAR-100, 250 SVHN, 50 STL-10.
What differs from it: its interleaving gives each sub-batch of B images a share of all groups, of which the first alone
moves the running statistics, and here one batch holds all. Partners come from an image's own block of the global batch
(`block`) and not from all of it, so that ranks change nothing. Each image has a lam of its own, as in their code.
Their errors are medians of the last 20 checkpoints; a run here reports its last one.
Shape suffixes: B labeled batch, U unlabeled batch, K views, N = B + KU all images, C classes.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixing import Lam, betas_of, block_first, block_problems, mixing_partners, mixing_weights
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ADAM, ONE_TO_ONE, Changes, Setting
from semisonic.contract import Batch, Seen, StepOutput, Views, parted
from semisonic.schema import Config, UsedWith
from semisonic_kernels.losses import one_hot, probability_mse, sharpen, soft_labels
from semisonic_kernels.mixup import mixup

UNLABELED_WEIGHTS = {"cifar10": 75.0, "cifar100": 150.0, "svhn": 250.0, "stl10": 50.0}
"""The paper's weight of the unlabeled loss, by recipe."""


class MixMatchConfig(Config):
    name: Literal["mixmatch"] = "mixmatch"
    weight: float = Field(75.0, ge=0, le=1e6)
    """Weight of the unlabeled loss, lambda_U."""
    ramp: float = Field(16_000.0, ge=0, le=1e9)
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start."""
    temperature: float = Field(0.5, gt=0, le=100)
    """Of sharpening; 1 leaves the guess as it is."""
    alpha: Annotated[float, UsedWith("lam", ("sample", "block"))] = Field(0.75, gt=0, le=1000)
    """Of the Beta(alpha, alpha) distribution of the mixing weight."""
    views: int = Field(2, ge=1, le=64)
    """Views of an unlabeled image whose predictions are averaged, and which are all trained on (K)."""
    lam: Lam = "sample"
    """A mixing weight for each image, one for all images of a block, or a number for all, 0 to 1. As lam' is at least
    1/2, 0.1 and 0.9 are the same."""
    block: int = Field(8, ge=1, le=2**20)
    """Labeled images of a block of the global batch, inside which images are mixed; no rank or micro-batch cuts it."""
    weak: str = "weak"
    """Augmentation of all views."""


def view_names(cfg: MixMatchConfig) -> list[str]:
    """Of the K views of an unlabeled image."""
    return [f"weak{k}" for k in range(1, cfg.views + 1)]


class MixMatch(Algorithm):
    Config = MixMatchConfig
    cfg: MixMatchConfig
    open_to = LOGITS

    @classmethod
    def views(cls, cfg: MixMatchConfig) -> Views:
        return Views(
            labeled={"weak": cfg.weak},
            unlabeled=dict.fromkeys(view_names(cfg), cfg.weak),
            draws={"lam": cfg.views, "partner": cfg.views},
            labeled_draws={"labeled_lam": 1, "labeled_partner": 1},
            betas=betas_of(cfg.lam, cfg.alpha, "lam", "labeled_lam"),
        )

    @classmethod
    def problems(cls, cfg: MixMatchConfig, labeled: int, unlabeled: int) -> list[str]:
        return block_problems(cfg.block, labeled, unlabeled)

    def loss(self, batch: Batch) -> StepOutput:
        target_UC = sharpen(self.guess(batch), self.cfg.temperature)
        x, y_BC, u, q_NC = self.mixed(batch, target_UC)

        labeled = self.mixed_labeled_loss(x, y_BC, batch.y, batch.x_index)
        unlabeled = probability_mse(self.trained_logits(u), q_NC)
        loss = labeled + self.cfg.weight * linear_ramp(self.step, self.cfg.ramp, self.info.steps) * unlabeled

        label_U = target_UC.argmax(-1)
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            **pseudo_label_metrics(label_U, torch.ones_like(label_U), batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {})

    def unlabeled_views(self, batch: Batch) -> list[Tensor]:
        """The K views of each unlabeled image, [U, 3, H, W] each, that are guessed from and mixed."""
        return [batch.u[name] for name in view_names(self.cfg)]

    @torch.no_grad()
    def guess(self, batch: Batch) -> Tensor:
        """The mean prediction over the K views of an unlabeled image: [U, C]."""
        return self.guess_of(self.look(*self.unlabeled_views(batch), track=False))

    def guess_of(self, views: Sequence[Seen]) -> Tensor:
        """The mean prediction over views of the same images."""
        return torch.stack([soft_labels(self.guessed_logits(seen)) for seen in views]).mean(0)

    def mixed(self, batch: Batch, target_UC: Tensor, kept_U: Tensor | None = None) -> tuple[Seen, Tensor, Seen, Tensor]:
        """What the network makes of the mixed images, and their targets: of the B labeled [B, C], of the KU others.

        kept: as in `mixture`.
        """
        images, targets_NC = self.mixture(batch, target_UC, kept_U)
        (seen,) = self.look(images, rows=self.mixture_rows(batch))
        x, u = parted(seen, len(batch.y))
        return x, targets_NC[: len(batch.y)], u, targets_NC[len(batch.y) :]

    def mixture(self, batch: Batch, target_UC: Tensor, kept_U: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All images mixed with a partner [N, 3, H, W], normalized, and their targets [N, C]; labeled ones first.

        kept: which unlabeled samples take part [U]; the others are their own partners. None: all do.
        """
        images, partner_N, lam_N = self.plan(batch, kept_U)
        y_BC = one_hot(batch.y, self.info.classes).to(target_UC.dtype)
        targets_NC = torch.cat([y_BC, *[target_UC] * len(self.unlabeled_views(batch))])
        return mixup(images, targets_NC, partner_N, lam_N, self.pixel_mean, self.pixel_scale, dominant=True)

    def mixture_rows(self, batch: Batch) -> list[int]:
        """How many images of a mixture are of each view."""
        return [len(batch.y), *[len(view) for view in self.unlabeled_views(batch)]]

    def plan(self, batch: Batch, kept_U: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """All images, unmixed [N, 3, H, W], and the partner [N] and mixing weight [N] of each."""
        views = self.unlabeled_views(batch)
        keys = [batch.draws["labeled_partner"][:, 0], *batch.draws["partner"].unbind(1)]
        lams = [batch.draws["labeled_lam"][:, 0], *batch.draws["lam"].unbind(1)]
        blocks = len(batch.y) // self.cfg.block
        kept = None if kept_U is None else [torch.ones_like(batch.y, dtype=torch.bool), *[kept_U] * len(views)]
        if self.cfg.lam == "block":  # one for all groups
            lams = [block_first(lams[0], len(lam), blocks) for lam in lams]
        lam_N = torch.cat([mixing_weights(self.cfg.lam, lam, blocks) for lam in lams])
        images = torch.cat([batch.x["weak"], *views])
        return images, mixing_partners(keys, blocks, kept), lam_N

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """MixMatch: 64 + 64 images, Adam 0.002, weight 75 (CIFAR-100 150, SVHN 250, STL-10 50), ramp of 16,000 steps.

        Cost: 0.24. Error [M]: CIFAR-10 11.08 +- 0.87 (250), 6.24 +- 0.06 (4,000); SVHN 3.78 (250), 3.27 (1,000);
        STL-10 10.18 +- 1.46 (1,000). FixMatch's authors and TorchSSL have SGD, alpha 0.5 and weight 100.
        """
        own = {"weight": UNLABELED_WEIGHTS.get(setting.recipe, 75.0)} | setting.ramp() | setting.block()
        return (ONE_TO_ONE | ADAM if setting.paper else {}) | {"algorithm": own}
