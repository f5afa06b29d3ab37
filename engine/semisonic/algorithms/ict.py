"""ICT: interpolation consistency training (Verma et al. 2019, arXiv 1903.03825).

    x', y' = lam (x, y) + (1 - lam) (x, y)[partner]                   lam ~ Beta(alpha, alpha)
    u'     = lam u + (1 - lam) u[partner]
    q      = lam p~(u) + (1 - lam) p~(u)[partner], no gradient        p~: softmax of the EMA network
    L      = mean over B of H(y', p(x')) + weight * ramp(t) * mean over U and classes of (p(u') - q)^2

Each stream is mixed among its own images. As H is linear in the target, the labeled term is the usual MixUp loss,
lam H(y, .) + (1 - lam) H(y[partner], .).

Two forwards in training mode: the EMA's of the unmixed images, which uses their batch statistics and moves none, and
the network's of all mixed images, which tracks. The EMA is the run's (`ema.decay`, 0.999 in the paper); the authors
average with start-up correction, which is `ema.start_up=mean_teacher`. They train with SGD without Nesterov's momentum,
weight decay 1e-4, rate 0.1, and a cosine that would reach 0 after 450 epochs but ends after 400 (`optim.schedule=ict`).
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixing import Lam, betas_of, block_problems, mixing_partners, mixing_weights
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.ramps import linear_ramp, sigmoid_ramp
from semisonic.algorithms.settings import GRAY_RECIPES, Changes, Setting
from semisonic.contract import Batch, StepOutput, Views, parted
from semisonic.schema import Config, UsedWith
from semisonic_kernels.losses import consistency_loss, one_hot, probability_mse
from semisonic_kernels.mixup import mixup


class ICTConfig(Config):
    name: Literal["ict"] = "ict"
    weight: float = Field(100.0, ge=0, le=1e6)
    """Weight of the unlabeled loss."""
    ramp: float = Field(0.25, ge=0, le=1e9)
    """Steps over which the weight rises; up to 1, a share of the run; 0 = the whole weight from the start."""
    shape: Annotated[Literal["sigmoid", "linear"], UsedWith("ramp")] = "sigmoid"
    """Of the ramp: exp(-5 (1 - t/T)^2), or t/T."""
    alpha: Annotated[float, UsedWith("lam", ("sample", "block"))] = Field(1.0, gt=0, le=1000)
    """Of the Beta(alpha, alpha) distribution of the mixing weight; the paper takes 1 for CIFAR-10, 0.1 for SVHN."""
    lam: Lam = "sample"
    """A mixing weight for each image, one for the images of a block (one for each stream), or a number for all."""
    dominant: bool = False
    """max(lam, 1 - lam) in place of lam."""
    mix_labeled: bool = True
    """Mix the labeled images too."""
    targets: Literal["probabilities", "logits"] = "probabilities"
    """What of the EMA is mixed: its probabilities, as in the paper, or its logits, as in the authors' code."""
    loss: Literal["mse", "ce"] = "mse"
    """Squared error of the probabilities, or cross-entropy with the mixed targets."""
    block: int = Field(8, ge=1, le=2**20)
    """Labeled images of a block of the global batch, inside which images are mixed; no rank or micro-batch cuts it."""
    weak: str = "weak"
    """Augmentation of both streams."""


class ICT(Algorithm):
    Config = ICTConfig
    cfg: ICTConfig
    open_to = LOGITS

    @classmethod
    def views(cls, cfg: ICTConfig) -> Views:
        return Views(
            labeled={"weak": cfg.weak},
            unlabeled={"weak": cfg.weak},
            draws={"lam": 1, "partner": 1},
            labeled_draws={"labeled_lam": 1, "labeled_partner": 1},
            betas=betas_of(cfg.lam, cfg.alpha, "lam", "labeled_lam"),
        )

    @classmethod
    def problems(cls, cfg: ICTConfig, labeled: int, unlabeled: int) -> list[str]:
        return block_problems(cfg.block, labeled, unlabeled)

    @classmethod
    def sees(cls, cfg: ICTConfig) -> tuple[str, ...]:
        return () if cfg.mix_labeled else ("labeled",)

    def loss(self, batch: Batch) -> StepOutput:
        cfg, u, size = self.cfg, batch.u["weak"], len(batch.y)
        y_BC = self.weighed(one_hot(batch.y, self.info.classes).to(self.pixel_mean.dtype), batch.x_index)
        with torch.no_grad():
            teacher_UC = self.guessed_logits(self.look(u, module="ema")[0])
            p_UC = teacher_UC.softmax(-1)
        probabilities = cfg.targets == "probabilities"
        images, targets_NC = self.mixed(batch, torch.cat([y_BC, p_UC if probabilities else teacher_UC]))
        x, mixed_u = parted(self.look(images, rows=[size, len(u)])[0], size)
        y_BC, q_UC = targets_NC[:size], targets_NC[size:]
        q_UC = q_UC if probabilities else q_UC.softmax(-1)

        labeled = self.mixed_labeled_loss(x, y_BC, batch.y)
        unlabeled = (probability_mse if cfg.loss == "mse" else consistency_loss)(self.trained_logits(mixed_u), q_UC)
        ramp = sigmoid_ramp if cfg.shape == "sigmoid" else linear_ramp
        loss = labeled + cfg.weight * ramp(self.step, cfg.ramp, self.info.steps) * unlabeled

        label_U = p_UC.argmax(-1)
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, y_BC.argmax(-1)),
            **pseudo_label_metrics(label_U, torch.ones_like(label_U), batch.u_true, self.info.classes),
        }
        seen = {} if cfg.mix_labeled else {"labeled": x._replace(targets=batch.y)}
        return StepOutput(loss, metrics, {}, seen)

    def mixed(self, batch: Batch, targets_NC: Tensor) -> tuple[Tensor, Tensor]:
        """The images of both streams [N, 3, H, W], labeled ones first, normalized, and their targets [N, C], each mixed
        with a partner from its own stream, in one pass."""
        cfg, draws, blocks = self.cfg, batch.draws, len(batch.y) // self.cfg.block
        partner_B, partner_U = (mixing_partners([draws[name][:, 0]], blocks) for name in ("labeled_partner", "partner"))
        lam_B, lam_U = (mixing_weights(cfg.lam, draws[name][:, 0], blocks) for name in ("labeled_lam", "lam"))
        if not cfg.mix_labeled:
            lam_B = torch.ones_like(lam_B)
        return mixup(
            torch.cat([batch.x["weak"], batch.u["weak"]]),
            targets_NC,
            torch.cat([partner_B, len(lam_B) + partner_U]),
            torch.cat([lam_B, lam_U]),
            self.pixel_mean,
            self.pixel_scale,
            dominant=cfg.dominant,
        )

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Interpolation consistency: 100 + 100 images, 400 epochs, SGD 0.1 with a cosine, Beta(1, 1), SVHN (0.1, 0.1).

        CIFAR-100 and STL-10 have no settings of the authors; they get CIFAR-10's.
        Cost: 0.24 a step, 200,000 steps: 0.05 of FixMatch's run. Error, of the authors' repository: SVHN 3.53 +- 0.07
        (1,000); of ZCA-whitened images, which there are none of here, CIFAR-10 7.66 +- 0.17 (4,000).
        """
        alpha = {"alpha": 0.1} if setting.recipe in ("svhn", *GRAY_RECIPES) else {}
        if setting.recipe in GRAY_RECIPES:  # in short runs the consistency must weigh more to matter
            return {"algorithm": {"weight": 300.0, "ramp": 0.5} | alpha | setting.block()}
        if not setting.paper:
            return setting.teacher() | {"algorithm": setting.block()}
        return {
            "steps": 293_000 if setting.recipe == "svhn" else 200_000,
            "batch": {"labeled": 100, "unlabeled_ratio": 1},
            "optim": {"name": "sgd", "lr": 0.1, "nesterov": False, "weight_decay": 1e-4, "schedule": "ict"},
            "ema": {"start_up": "mean_teacher"},
            "algorithm": alpha | setting.block(100),
        }
