"""VAT: no small change of an image changes its prediction (Miyato et al. 2017, arXiv 1704.03976).

    q   = softmax(f(u)), no gradient, u a weak view
    d   ~ N(0, I) per sample; `power` times: d <- gradient at r = xi d / |d| of KL(q || softmax(f(u + r)))
    L_u = mean over U of KL(q || softmax(f(u + eps d / |d|)))
    L   = mean_B H(y, softmax(f(weak(x)))) + weight * r(t) * L_u + entropy * mean over U of H(softmax(f(u)))

r rises linearly from 0 to 1 over `ramp`, steps or a share of the run. |.| is the L2 norm over an image that is
normalized by the data set's mean and deviation. TorchSSL, whose errors are quoted, has the same scale and an eps of 6
for every data set. The paper's eps are of its own scales: 8 and 10 for CIFAR-10, with and without augmentation, in
units of ZCA-whitened images, which no factor turns into these; 3.5 and 2.5 for SVHN on pixels of -1/2..1/2, which are
20 and 14 here (`PAPER_SVHN`), as a deviation is 0.175 of that range.
q and d are computed in float32 also where the rest is in half precision, in which r would be rounded away, as the
paper's xi of 1e-6 is even in float32. GPUs round the operands of float32 convolutions to TF32, which blurs d at
xi = 1e-2 but hardly changes the divergence along it; xi = 0.1 finds it better there.
The KL divergence is 0 at r = 0 only if clean and perturbed images are normalized by the same kind of batch. So, as in
the paper, images of each stream go by themselves: the labeled images' forward tracks BatchNorm's running statistics,
those of the unlabeled ones (clean, for each power, adversarial) move none; see `statistics`.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, H height, W width.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import LABELED
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.gradients import input_gradient
from semisonic.algorithms.monitoring import loss_metrics
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ONE_TO_ONE, PAPER_RECIPES, Changes, Setting
from semisonic.algorithms.streams import Statistics
from semisonic.contract import Batch, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import kl_divergence, soft_cross_entropy
from semisonic_kernels.noise import normal_noise

EPS = {"digits": 3.0} | dict.fromkeys(PAPER_RECIPES, 6.0)
"""Length of a perturbation by recipe, in deviations of the data set's pixels; TorchSSL's, and one of our own for 16 px.
At 96 px the same length is a third of the noise for a pixel."""
PAPER_SVHN = (3.5 / 0.1755, 2.5 / 0.1755)
"""The paper's lengths on SVHN, with and without augmentation, in the same unit."""


class VATConfig(Config):
    name: Literal["vat"] = "vat"
    weight: float = Field(0.3, ge=0, le=1e6)
    """Weight of the adversarial loss after the ramp."""
    entropy: float = Field(0.06, ge=0, le=1e6)
    """Weight of the entropy of the predictions for unlabeled images."""
    eps: float = Field(6.0, gt=0, le=1e6)
    """L2 norm of an image's adversarial perturbation, in units of the data set's standard deviation."""
    xi: float = Field(1e-2, gt=0, le=1000)
    """L2 norm of the step of the finite difference that finds the perturbation."""
    power: int = Field(1, ge=1, le=100)
    """Power iterations; each costs a forward and a backward of the unlabeled images."""
    ramp: float = Field(0.4, ge=0, le=1e9)
    """Steps over which the weight rises from 0; up to 1, a share of the run; 0 = the whole weight from the start."""
    statistics: Statistics = "labeled"
    """labeled: BatchNorm statistics of each stream by itself, and only the labeled images move the running ones.
    all: the labeled images go along in every forward of the unlabeled ones, and the clean one moves them."""
    weak: str = "weak"
    """Augmentation of all views."""


class VAT(Algorithm):
    Config = VATConfig
    cfg: VATConfig
    open_to = LABELED
    inner_gradients = True

    @classmethod
    def views(cls, cfg: VATConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"weak": cfg.weak})

    @classmethod
    def sees(cls, cfg: VATConfig) -> tuple[str, ...]:
        return ("labeled",)

    def loss(self, batch: Batch) -> StepOutput:
        images, u = self.normalize(batch.x["weak"]), self.normalize(batch.u["weak"])
        if self.cfg.statistics == "all":
            x, clean = self.look(images, u, autocast=False)
            clean_UC = clean.logits
        else:
            (x,), clean_UC = self.look(images), self.infer(u, track=False, autocast=False)
        r_U3HW = self.perturbation(images, u, clean_UC.detach(), batch.u_key)
        adversarial_UC = self.perturbed(images, u + r_U3HW, autocast=True)

        labeled = self.labeled_loss(x, batch.y, index_B=batch.x_index)
        unlabeled = kl_divergence(clean_UC.detach(), adversarial_UC).mean()
        entropy = soft_cross_entropy(clean_UC, clean_UC.softmax(-1)).mean()
        ramp = linear_ramp(self.step, self.cfg.ramp, self.info.steps)
        loss = labeled + self.cfg.weight * ramp * unlabeled + self.cfg.entropy * entropy

        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_entropy": entropy.detach(),
        }
        return StepOutput(loss, metrics, {}, {"labeled": x._replace(targets=batch.y)})

    def perturbation(self, x: Tensor, u: Tensor, clean_UC: Tensor, key_U: Tensor) -> Tensor:
        """The adversarial change r [U, 3, H, W] of each image, detached; 0 where no change of it changes anything."""
        d = normal_noise(key_U, tuple(u.shape[1:])).to(u)

        def divergence(r: Tensor) -> Tensor:
            # The sum: its gradient is one image's own, and does not shrink with the batch.
            return kl_divergence(clean_UC, self.perturbed(x, u + r, autocast=False)).sum()

        for _ in range(self.cfg.power):
            d = input_gradient(divergence, self.cfg.xi * unit(d))
        return self.cfg.eps * unit(d)

    def perturbed(self, x: Tensor, images: Tensor, autocast: bool) -> Tensor:
        """Logits of perturbed images [U, 3, H, W], with the kind of batch statistics that the clean ones had."""
        if self.cfg.statistics == "all":
            rows = [len(x), len(images)]
            return self.infer(torch.cat([x, images]), track=False, autocast=autocast, rows=rows)[len(x) :]
        return self.infer(images, track=False, autocast=autocast)

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """Virtual adversarial training: 64 + 64 images, perturbations of length 6, weight 0.3, entropy 0.06.

        Lengths are in deviations, and by data set (`EPS`). Where images are smaller than 32 px the length shrinks with
        their side, as the noise of one pixel should not grow. The paper's length on SVHN: --algorithm.eps 20.
        Cost: 0.24. Error [T]: CIFAR-10 74.66 (40), 41.03 (250), 10.51 (4,000); CIFAR-100 85.20 (400), 46.84 (2,500),
        32.14 (10,000); SVHN (extra) 74.75 (40), 4.33 (250), 4.11 (1,000); STL-10 37.95 (1,000).
        """
        own = {"algorithm": {"eps": EPS[setting.recipe]}} if setting.recipe in EPS else {}
        return (ONE_TO_ONE if setting.paper else {}) | own


def unit(d: Tensor) -> Tensor:
    """Each sample of d [U, 3, H, W] divided by its L2 norm; zeros stay zeros.

    Divided by the largest value first: the gradients of a sure network are so small that their squares vanish.
    """
    tiny = torch.finfo(d.dtype).tiny
    d = d / d.abs().amax((1, 2, 3), keepdim=True).clamp(min=tiny)
    return d / d.square().sum((1, 2, 3), keepdim=True).sqrt().clamp(min=tiny)
