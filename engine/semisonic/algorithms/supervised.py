"""The supervised baseline: cross-entropy on the labeled images alone.

    L = mean_B H(y, p(weak(x)))

With all labels it is the fully-supervised bound; with the split of a semi-supervised run it is the baseline
that shows what the unlabeled images bring. Optionally images and labels are mixed in pairs, with lam ~ Beta(a, a) for
each image: MixUp (arXiv 1710.09412), x = lam x_i + (1 - lam) x_j, or CutMix (arXiv 1905.04899), x_i with a box of x_j
that covers about 1 - lam of it; labels are mixed by lam, for CutMix by the share of pixels.
Shape suffixes: B labeled batch, C classes.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import LABELED
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixing import SampleLam, betas_of, block_problems, mixing_partners, mixing_weights
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, StepOutput, Views
from semisonic.schema import Config, UsedWith
from semisonic_kernels.cutmix import cutmix, cutmix_boxes
from semisonic_kernels.losses import one_hot
from semisonic_kernels.mixup import mixup

MIXING = UsedWith("mix", ("mixup", "cutmix"))


class SupervisedConfig(Config):
    name: Literal["supervised"] = "supervised"
    view: str = "weak"
    """Augmentation of the labeled images."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """s in y <- (1-s) y + s/C."""
    mix: Literal["none", "mixup", "cutmix"] = "none"
    """What mixes pairs of images: nothing, MixUp or CutMix."""
    mix_alpha: Annotated[float, MIXING, UsedWith("mix_lam", ("sample",))] = Field(1.0, gt=0, le=1000)
    """Of the Beta(alpha, alpha) distribution of the mixing weight."""
    mix_lam: Annotated[SampleLam, MIXING] = "sample"
    """A mixing weight for each image, or a number for all, 0 to 1: what an image itself counts."""
    block: Annotated[int, MIXING] = Field(8, ge=1, le=2**20)
    """Labeled images of a block of the global batch, inside which images are mixed; no rank or micro-batch cuts it."""


class Supervised(Algorithm):
    Config = SupervisedConfig
    cfg: SupervisedConfig
    open_to = LABELED

    @classmethod
    def views(cls, cfg: SupervisedConfig) -> Views:
        if cfg.mix == "none":
            return Views(labeled={"weak": cfg.view})
        draws = {"partner": 1, "lam": 1} | ({"center": 2} if cfg.mix == "cutmix" else {})
        return Views(labeled={"weak": cfg.view}, labeled_draws=draws, betas=betas_of(cfg.mix_lam, cfg.mix_alpha, "lam"))

    @classmethod
    def problems(cls, cfg: SupervisedConfig, labeled: int, unlabeled: int) -> list[str]:
        return [] if cfg.mix == "none" else block_problems(cfg.block, labeled)

    @classmethod
    def sees(cls, cfg: SupervisedConfig) -> tuple[str, ...]:
        return ("labeled",) if cfg.mix == "none" else ()

    def loss(self, batch: Batch) -> StepOutput:
        if self.cfg.mix == "none":
            (x,) = self.look(batch.x["weak"])
            label_B, seen = batch.y, {"labeled": x._replace(targets=batch.y)}
            loss = self.labeled_loss(x, batch.y, self.cfg.label_smoothing, batch.x_index)
        else:
            images, targets_BC = self.mixed(batch)
            (x,) = self.look(images)
            label_B, seen = targets_BC.argmax(-1), {}
            loss = self.mixed_labeled_loss(x, targets_BC, batch.y)
        accuracy = x.logits.detach().argmax(-1).eq(label_B).float().mean()
        return StepOutput(loss, {"loss_labeled": loss.detach(), "labeled_accuracy": accuracy}, {}, seen)

    def mixed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mixed images [B, 3, H, W] and targets [B, C]."""
        images, draws, smoothing = batch.x["weak"], batch.draws, self.cfg.label_smoothing
        dtype = self.pixel_mean.dtype
        targets_BC = (1 - smoothing) * one_hot(batch.y, self.info.classes).to(dtype) + smoothing / self.info.classes
        targets_BC = self.weighed(targets_BC, batch.x_index)
        blocks = len(batch.y) // self.cfg.block
        partner_B = mixing_partners([draws["partner"][:, 0]], blocks)
        lam_B = mixing_weights(self.cfg.mix_lam, draws["lam"][:, 0], blocks)
        if self.cfg.mix == "mixup":
            return mixup(images, targets_BC, partner_B, lam_B, self.pixel_mean, self.pixel_scale)
        boxes_B4 = cutmix_boxes(lam_B, draws["center"], images.shape[2], images.shape[3])
        return cutmix(images, targets_BC, partner_B, boxes_B4)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """The labeled images alone: the baseline, or with --data.labels null the bound.

        Cost: 0.07. Error [U]: CIFAR-10 77.58 (40 labels), 55.96 (250), 15.51 (4,000), 4.60 (all); SVHN (extra) 82.21
        (40), 25.70 (250), 12.46 (1,000); CIFAR-100 with --model wrn-28-2 89.87 (400), 61.25 (2,500), 38.99 (10,000);
        with WRN-28-8 and all labels 19.30 [T].
        """
        return {}
