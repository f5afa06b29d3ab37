"""Dash: a threshold on the loss, which falls as training goes on (Xu et al. 2021, arXiv 2109.00650).

    q     = softmax(f(weak(u)) / temperature) while rho_t > floor, its argmax from then on; no gradient
    H_u   = H(q, p(strong(u)))

    official (the authors' code; e = epochs so far)         usb (USB's; k = falls since the warm-up)
      warm-up of 10 epochs: all samples count                 warm-up of 2 epochs: no unlabeled sample counts
      rho^  = mean of the warm-up's last H_u, as many         rho^  = mean of the warm-up's last labeled losses, as many
              as the pool has images                                  as there are labeled images
      rho_t = rho^ gamma^-int((e - 1) / 9)                    rho_t = 1.0001 rho^ gamma^-k
      m     = 1[-log max p(weak(u)) <= max(rho_t, floor)]     m     = 1[H(q, p(weak(u))) <= max(rho_t, floor)]
      L_u   = 0.9 sum m H_u / sum m                           L_u   = mean over all U of m H_u

    L     = mean_B H(y, p(weak(x))) + weight * L_u

The official rule is a confidence threshold exp(-rho_t), which rises to exp(-floor) = 0.951. Its L_u divides by the
number that counts on all ranks, so that it takes no micro-batches. USB's code has rho^ from the test images, which
nothing here reads. All three views go through one tracking forward, also in a warm-up, unless `weak_pass` separates
them.
Shape suffixes: B labeled batch, U unlabeled batch, G one of both of all ranks, C classes.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics, seen_by
from semisonic.algorithms.ramps import ramp_length, shares_of_the_run
from semisonic.algorithms.settings import Changes, Setting
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongViews
from semisonic.contract import Batch, Guess, Info, Seen, StepOutput
from semisonic_kernels import collectives
from semisonic_kernels.losses import one_hot, soft_cross_entropy

ALL, NONE = 500.0, -1.0
"""A threshold that every sample's loss is below, and one that none's is: those of the warm-ups."""
LARGEST = 5.0
"""A mean loss that no warm-up leaves, for when the threshold has fallen at the latest."""


class DashConfig(WeakStrongViews):
    name: Literal["dash"] = "dash"
    rule: Literal["official", "usb"] = "official"
    """Whose warm-up, threshold and mean: the authors' code, or USB's."""
    epoch: float = Field(1024, gt=0, le=1e9)
    """Steps of an epoch; up to 1, a share of the run."""
    warm_up: float | None = Field(None, gt=0, le=1e6)
    """Epochs before there is a threshold; null = 10, for usb 2."""
    fall_every: float | None = Field(None, gt=0, le=1e6)
    """Epochs from one fall of the threshold to the next; null = 9, for usb 10."""
    gamma: float = Field(1.27, ge=1, le=1e3)
    """Divides the threshold at a fall."""
    floor: float = Field(0.05, gt=0, le=100)
    """The least threshold on the loss. Once it is reached, labels are hard."""
    temperature: float = Field(0.5, gt=0, le=100)
    """Sharpens soft labels; 1 leaves them as they are."""


class Dash(WeakStrong):
    Config = DashConfig
    cfg: DashConfig
    open_to = (*LOGITS, "mask")
    losses: Tensor
    """Sum of those losses of the warm-up that count in rho^, 0-d."""
    counted: Tensor
    """How many they are, 0-d int64."""

    @classmethod
    def takes_micro_batches(cls, cfg: DashConfig) -> bool:
        return cfg.rule == "usb"

    @classmethod
    def takes_growing_batches(cls, cfg: DashConfig) -> bool:
        return cfg.rule == "usb"  # the official rule counts the losses of an epoch of batches of one size

    @classmethod
    def depends_on_steps(cls, cfg: DashConfig) -> list[str]:
        return shares_of_the_run(cfg, "epoch")

    @classmethod
    def epochs(cls, cfg: DashConfig) -> tuple[float, float]:
        """Of the warm-up, and from one fall to the next."""
        warm_up, fall_every = {"official": (10.0, 9.0), "usb": (2.0, 10.0)}[cfg.rule]
        return cfg.warm_up or warm_up, cfg.fall_every or fall_every

    @classmethod
    def ramped(cls, cfg: DashConfig, steps: int) -> float:
        """When even a large rho^ has fallen to the floor."""
        warm_up, fall_every = cls.epochs(cfg)
        falls = math.ceil(max(0.0, math.log(LARGEST / cfg.floor)) / math.log(cfg.gamma)) if cfg.gamma > 1 else 0
        begin = 1.0 if cfg.rule == "official" else warm_up
        return ramp_length(cfg.epoch, steps) * max(warm_up, begin + fall_every * falls)

    def setup(self, info: Info) -> None:
        self.register_buffer("losses", torch.zeros(()))
        self.register_buffer("counted", torch.zeros((), dtype=torch.int64))
        self.epoch_steps = ramp_length(self.cfg.epoch, info.steps)
        warm_up, self.fall_every = self.epochs(self.cfg)
        self.warm_steps = math.ceil(warm_up * self.epoch_steps)
        official = self.cfg.rule == "official"
        images, batch = (info.unlabeled, info.unlabeled_batch) if official else (info.labeled, info.labeled_batch)
        self.last = min(images, max(1, round(self.epoch_steps)) * batch)  # the last losses of the warm-up that count

    def loss(self, batch: Batch) -> StepOutput:
        x, weak, strong = self.look_at(batch)
        rho, hard = self.threshold()
        guess = self.guess(weak, rho, hard)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        losses_U = soft_cross_entropy(self.trained_logits(strong), guess.targets)
        unlabeled = self.mean_of_counting(losses_U, guess.mask)
        loss = labeled + self.cfg.weight * unlabeled

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "threshold": (-rho).exp().clamp(max=1).float(),  # as a confidence
            **pseudo_label_metrics(guess.labels, guess.mask, batch.u_true, self.info.classes),
        }
        if self.cfg.rule == "usb":
            losses_U = F.cross_entropy(self.labeled_logits(x), batch.y, reduction="none")
        return StepOutput(loss, metrics, {"loss": losses_U.detach()}, seen_by(x, batch.y, weak, strong, guess))

    def threshold(self) -> tuple[Tensor, Tensor]:
        """The loss up to which a sample counts in this step, 0-d float64, and whether its label is hard, 0-d bool."""
        cfg, step = self.cfg, self.step.double()
        if cfg.rule == "official":
            warm_up, first = ALL, self.first()
            falls = (((step / self.epoch_steps).floor() - 1) / self.fall_every).trunc().clamp(min=0)
        else:
            warm_up, first = NONE, 1.0001 * self.first()
            falls = ((step - self.warm_steps) / (self.fall_every * self.epoch_steps)).floor()
        rho, warming_up = first * cfg.gamma**-falls, self.step < self.warm_steps
        return torch.where(warming_up, warm_up, rho.clamp(min=cfg.floor)), (rho <= cfg.floor) & ~warming_up

    def first(self) -> Tensor:
        """rho^, once the warm-up is over: 0-d float64."""
        return self.losses.double() / self.counted.clamp(min=1)

    @torch.no_grad()
    def guess(self, weak: Seen, rho: Tensor, hard: Tensor) -> Guess:
        """What the weak views say, and which of them count, by `threshold`."""
        logits_UC = self.guessed_logits(weak).detach()
        hard_UC = one_hot(logits_UC.argmax(-1), self.info.classes).to(logits_UC.dtype)
        target_UC = torch.where(hard, hard_UC, (logits_UC / self.cfg.temperature).softmax(-1))
        judged_UC = hard_UC if self.cfg.rule == "official" else target_UC
        counts_U = soft_cross_entropy(logits_UC, judged_UC) <= rho
        return self.guess_from(logits_UC, weights_U=counts_U.to(logits_UC.dtype))._replace(targets=target_UC)

    def mean_of_counting(self, losses_U: Tensor, mask_U: Tensor) -> Tensor:
        """L_u: 0-d."""
        if self.cfg.rule == "usb":
            return (mask_U * losses_U).mean()
        # A rank's share of a mean over the global number: the mean over the ranks of the quotients is that mean.
        count = collectives.mean(mask_U.sum()).clamp(min=1 / collectives.ranks())
        return 0.9 * (mask_U * losses_U).sum() / count

    def update(self, observed: dict[str, Tensor]) -> None:
        loss_G = observed["loss"]
        later_G = (self.warm_steps - self.step) * len(loss_G) - 1 - torch.arange(len(loss_G), device=loss_G.device)
        counts_G = (later_G >= 0) & (later_G < self.last)  # of those that the warm-up sees after it, so many
        self.losses += (counts_G * loss_G).sum()
        self.counted += counts_G.sum()

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Dash: FixMatch's settings, a threshold that falls with the loss, by the authors' code; --algorithm.rule usb.

        Cost: 1. On SVHN a learning rate of 0.06, as in the authors' script. Error, of a third party's listing:
        CIFAR-10 13.22 (40), 4.56 (250), 4.08 (4,000); CIFAR-100 44.76 (400), 27.18 (2,500). USB's are left out: their
        threshold is taken from the test images. Other runs have the same shares of their steps as the authors' 1,024
        epochs; on the digits (400 steps, seeds 10 and 11) an epoch of 1/256 was no better: 4.0 and 3.0 for 3.5 and 3.2.
        """
        if setting.usb:
            return {}
        changes: Changes = {"optim": {"lr": 0.06}} if setting.recipe == "svhn" else {}
        return changes if setting.paper else {"algorithm": {"epoch": 1 / 1024}}
