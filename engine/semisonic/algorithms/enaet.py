"""EnAET: MixMatch, and an ensemble of decoders that tell how an image was transformed (Wang et al. 2019, 1911.09265).

    a1, a2 two weak views of u, t6 = a1 with a square filled with its mean colour
    q    = sharpen_T(mean over V = {a1, a2, t6} of softmax(f(v))), no gradient
    MixMatch (arXiv 1905.02249) on x with y and V with q: L_x, L_u, see `mixmatch`
    t1 moved corners, t2 affine, t3 similarity, t4 Euclidean, t5 colour, contrast, brightness and sharpness, all of a1;
    t2, t3 and t4 are one draw with 6, 5 and 4 parameters theta_k
    L_k  = mean (D_k(E(a1), E(t_k)) - theta_k)^2,  w_k = min(slope_k * t / steps, most_k)
    L_c  = mean over k = 1..6 and U of KL(q || softmax(f(t_k)))
    L    = L_x + weight * ramp(t) * L_u + sum_k w_k L_k + consistency * L_c

E is a Wide ResNet up to its last stage, and D_k has a last stage of its own for both images, pooled, concatenated, and
a linear layer, as in the authors' code. Other networks offer no such maps: E is then the whole encoder up to its pooled
features, and D_k one hidden layer on the two.
Two forwards in training mode: the guess, which moves no running statistics, and one of all mixed and transformed
images, which tracks and so shares its statistics among them; the authors make about 15 separate ones. L_c is the mean
over k of their code, where the paper writes the sum. Images are transformed about their centre, in floating point; the
authors' Pillow rounds to bytes, and their centre lies half a pixel off. Decoders belong to the run's optimiser; the
authors give each an SGD of its own (rate 0.1) beside Adam (0.002) for the network, batches of 128 + 128 images,
weights 75 CIFAR-10, 150 CIFAR-100, 250 SVHN, 50 STL-10.
Shape suffixes: B labelled batch, U unlabelled batch, V views in the mixture, N = B + VU images in it, C classes.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm, Batch, Info, StepOutput, Views
from semisonic.algorithms.parts import check_block, linear_ramp, mixing_partners, pseudo_label_metrics
from semisonic.schema import Config
from semisonic_kernels import transformations
from semisonic_kernels.boxes import boxes_around, mean_filled
from semisonic_kernels.enhance import enhance
from semisonic_kernels.losses import consistency_loss, probability_mse, sharpen, soft_labels
from semisonic_kernels.mixup import mixup
from semisonic_kernels.warp import warp

PARAMETERS = (8, 6, 5, 4, 4)
"""How many each decoder finds."""
GREY = 128.0
"""Byte that is painted where a warped image ends."""
Five = tuple[float, float, float, float, float]


class EnAETConfig(Config):
    name: Literal["enaet"] = "enaet"
    weight: float = Field(75.0, ge=0)
    """Weight of the unlabelled loss of MixMatch."""
    ramp: float = Field(51_200.0, ge=0)
    """Steps over which this weight rises from 0; 0 = the whole weight from the start."""
    temperature: float = Field(0.5, gt=0)
    """Of sharpening; 1 leaves the guess as it is."""
    alpha: float = Field(0.75, gt=0)
    """Of the Beta(alpha, alpha) distribution of the mixing weight."""
    block: int = Field(8, ge=1)
    """Labelled images of a block of the global batch, inside which images are mixed; no rank or micro-batch cuts it."""
    slopes: Five = (10.0, 7.5, 5.0, 2.0, 0.5)
    """Weights that the decoders' losses would reach at the end of the run: projective, affine, similarity, Euclidean,
    enhancement."""
    most: Five = (1.0, 0.75, 0.5, 0.2, 0.05)
    """Weights at which they stop."""
    consistency: float = Field(1.0, ge=0)
    """Weight of the divergence between the guess and the predictions for transformed images."""
    weak: str = "weak"
    """Augmentation of all views."""
    shift: float = Field(0.125, ge=0, lt=0.5)
    """Projective: how far a corner moves at most, as a share of the image's side."""
    quarter_turns: bool = True
    """Projective: turned by 0, 90, 180 or 270 degrees as well."""
    degrees: float = Field(180.0, ge=0, le=180)
    """Affine: largest rotation, either way."""
    translate: float = Field(0.2, ge=0, le=1)
    """Affine: largest translation, as a share of the image's side."""
    scale: float = Field(0.2, ge=0, lt=1)
    """Affine and projective: scaled by 1 - scale to 1 + scale."""
    shear: float = Field(30.0, ge=0, le=60)
    """Affine: largest shear in degrees, either way."""
    enhance: float = Field(0.8, ge=0, le=1)
    """Factors of colour, contrast, brightness and sharpness are 1 - enhance to 1 + enhance."""
    patch: float = Field(0.25, ge=0, le=1)
    """Side of the square of mean colour, as a share of the image's; 0 = no such view."""


class Decoder(nn.Module):
    """Finds a transformation's parameters in what the encoder makes of an image and of the transformed image."""

    def __init__(self, stage: nn.Module | None, width: int, parameters: int):
        """stage: from maps to features [2U, width], None where the encoder gives features."""
        super().__init__()
        self.stage = nn.Identity() if stage is None else stage
        hidden = [nn.Linear(2 * width, width), nn.ReLU()] if stage is None else []
        self.find = nn.Sequential(*hidden, nn.Linear(width if hidden else 2 * width, parameters))

    def forward(self, both: Tensor) -> Tensor:
        """The images' maps or features and then the transformed images' [2U, ...] -> [U, parameters]."""
        original, transformed = self.stage(both).chunk(2)
        return self.find(torch.cat([original, transformed], 1))


class EnAET(Algorithm):
    Config = EnAETConfig

    @classmethod
    def views(cls, cfg: EnAETConfig) -> Views:
        count = 3 if cfg.patch else 2
        draws = {
            "lam": count,
            "partner": count,
            "projective": transformations.PROJECTIVE,
            "affine": transformations.AFFINE,
            "enhancement": transformations.ENHANCEMENT,
        }
        return Views(
            labelled={"weak": cfg.weak},
            unlabelled={"weak1": cfg.weak, "weak2": cfg.weak},
            draws=draws | ({"patch": 2} if cfg.patch else {}),
            labelled_draws={"labelled_lam": 1, "labelled_partner": 1},
            betas={"lam": cfg.alpha, "labelled_lam": cfg.alpha},
        )

    @classmethod
    def check(cls, cfg: EnAETConfig, labelled: int, unlabelled: int) -> list[str]:
        errors = check_block(cfg.block, labelled)
        if 4 * cfg.shift >= 1 - cfg.scale:  # an image's corner could come to lie on its other corners' diagonal
            errors.append(f"algorithm.shift: corners may meet at {cfg.shift}; take less than {(1 - cfg.scale) / 4:g}")
        return errors

    def setup(self, info: Info) -> None:
        network: Any = self.network
        self.decoders = nn.ModuleList(
            Decoder(self.build().last_stage() if _has_maps(network) else None, network.feature_dim, count)  # type: ignore[operator]
            for count in PARAMETERS
        )

    def loss(self, batch: Batch) -> StepOutput:
        views = [self.normalise(view) for view in batch.u.values()]
        if self.cfg.patch:
            side, size = round(self.cfg.patch * views[0].shape[-1]), views[0].shape[2:]
            views.append(mean_filled(views[0], boxes_around(batch.draws["patch"], side, side, *size)))
        target_UC = self.guess(views)
        mixed, targets_NC = self.mix(batch, views, target_UC)
        changed, theta = self.transform(batch.u["weak1"], views[0], batch.draws)
        changed += views[2:]

        encoded = self.encode(torch.cat([mixed, *changed, views[0]]))
        mixtures, labelled_count, count = len(mixed), len(batch.y), len(target_UC)
        logits = self.classify_encoded(encoded[:-count])
        original, transformed = encoded[-count:], encoded[mixtures:].split(count)

        labelled = consistency_loss(logits[:labelled_count], targets_NC[:labelled_count])
        unlabelled = probability_mse(logits[labelled_count:mixtures], targets_NC[labelled_count:])
        decoded = torch.stack(
            [
                F.mse_loss(self._run(decoder, torch.cat([original, maps]), track=True), wanted.to(original.dtype))
                for decoder, maps, wanted in zip(self.decoders, transformed[: len(theta)], theta, strict=True)
            ]
        )
        cross_entropy = consistency_loss(logits[mixtures:], target_UC.repeat(len(changed), 1))
        divergence = cross_entropy - torch.special.entr(target_UC).sum(-1).mean()
        loss = labelled + self.cfg.weight * linear_ramp(self.step, self.cfg.ramp) * unlabelled
        loss = loss + (self.decoder_weights() * decoded).sum() + self.cfg.consistency * divergence

        label_U = target_UC.argmax(-1)
        metrics = {
            "loss_labelled": labelled,
            "loss_unlabelled": unlabelled,
            "loss_decoders": decoded,
            "loss_consistency": divergence,
            "labelled_accuracy": logits[:labelled_count].argmax(-1).eq(batch.y).float().mean(),  # of mixed images
            **pseudo_label_metrics(label_U, torch.ones_like(label_U), batch.u_true, self.info.classes),
        }
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()}, {})

    @torch.no_grad()
    def guess(self, views: list[Tensor]) -> Tensor:
        """The sharpened mean prediction over all views: [U, C]."""
        predictions_VUC = [soft_labels(logits_UC) for logits_UC in self.classify(*views, track=False)]
        return sharpen(torch.stack(predictions_VUC).mean(0), self.cfg.temperature)

    def mix(self, batch: Batch, views: list[Tensor], target_UC: Tensor) -> tuple[Tensor, Tensor]:
        """MixMatch's mixture of the labelled images and all views: images [N, 3, H, W] and targets [N, C]."""
        draws = batch.draws
        partner_N = mixing_partners(
            [draws["labelled_partner"][:, 0], *draws["partner"].unbind(1)], len(batch.y) // self.cfg.block
        )
        lam_N = torch.cat([draws["labelled_lam"][:, 0], *draws["lam"].unbind(1)])
        images = torch.cat([self.normalise(batch.x["weak"]), *views])
        y_BC = F.one_hot(batch.y, self.info.classes).to(target_UC.dtype)
        return mixup(images, torch.cat([y_BC, *[target_UC] * len(views)]), partner_N, lam_N, dominant=True)

    def transform(self, pixels: Tensor, images: Tensor, draws: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """t1 to t5 of images, given as bytes and normalised [U, 3, H, W], and their parameters theta_k [U, .]."""
        cfg, size = self.cfg, images.shape[-1]
        warps = [
            transformations.projective(draws["projective"], size, cfg.shift, cfg.scale, cfg.quarter_turns),
            *transformations.affine_family(draws["affine"], size, cfg.degrees, cfg.translate, cfg.scale, cfg.shear),
        ]
        fill_C = ((GREY - self.pixel_mean) * self.pixel_scale).flatten()
        factors_U4 = transformations.enhancement(draws["enhancement"], cfg.enhance)
        changed = [warp(images, matrices, fill_C) for matrices, _ in warps]
        return [*changed, self.normalise(enhance(pixels, factors_U4))], [*(theta for _, theta in warps), factors_U4]

    def encode(self, images: Tensor) -> Tensor:
        """Maps before the last stage, or where the network has none, features; the tracking forward."""
        network: Any = self.network
        return self._run(network.trunk if _has_maps(network) else network.features, images, track=True)

    def classify_encoded(self, encoded: Tensor) -> Tensor:
        """Logits [., C] of what `encode` gives."""
        network: Any = self.network
        return self.head(self._run(network.top, encoded, track=True) if _has_maps(network) else encoded)

    def decoder_weights(self) -> Tensor:
        """w_k [5], float32."""
        ramp = linear_ramp(self.step, self.info.steps)
        pairs = zip(self.cfg.slopes, self.cfg.most, strict=True)
        return torch.stack([(slope * ramp).clamp(max=most) for slope, most in pairs])


def _has_maps(network: nn.Module) -> bool:
    return hasattr(network, "trunk")
