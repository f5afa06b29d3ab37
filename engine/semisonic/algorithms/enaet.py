"""EnAET: MixMatch, and an ensemble of decoders that tell how an image was transformed (Wang et al. 2019, 1911.09265).

    a1, a2 two weak views of u, t6 = a1 with a square filled with its mean color
    q    = sharpen_T(mean over V = {a1, a2, t6} of softmax(f(v))), no gradient
    MixMatch (arXiv 1905.02249) on x with y and V with q: L_x, L_u, see `mixmatch`
    t1 moved corners, t2 affine, t3 similarity, t4 Euclidean, t5 color, contrast, brightness and sharpness, all of a1;
    t2, t3 and t4 are one draw with 6, 5 and 4 parameters theta_k
    L_k  = mean (D_k(E(a1), E(t_k)) - theta_k)^2,  w_k = min(slope_k * t / steps, most_k)
    L_c  = mean over k = 1..6 and U of KL(q || softmax(f(t_k)))
    L    = L_x + weight * ramp(t) * L_u + sum_k w_k L_k + consistency * L_c

E is a Wide ResNet up to its last stage, and D_k has a last stage of its own for both images, pooled, concatenated, and
a linear layer, as in the authors' code. Other networks offer no such maps: E is then the whole encoder up to its pooled
features, and D_k one hidden layer on the two.
Two forwards in training mode: the guess, which moves no running statistics, and one of all mixed and transformed
images, which tracks and so shares its statistics among them; the authors make about 15 separate ones. L_c is the mean
over k of their code, where the paper writes the sum. Images are transformed about their center, in floating point; the
authors' Pillow rounds to bytes, and their center lies half a pixel off. Decoders belong to the run's optimizer; the
authors give each an SGD of its own (rate 0.1) beside Adam (0.002) for the network, batches of 128 + 128 images,
weights 75 CIFAR-10, 150 CIFAR-100, 250 SVHN, 50 STL-10.
Shape suffixes: B labeled batch, U unlabeled batch, V views in the mixture, N = B + VU images in it, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.mixmatch import UNLABELED_WEIGHTS, MixMatch, MixMatchConfig
from semisonic.algorithms.monitoring import loss_metrics, pseudo_label_metrics
from semisonic.algorithms.ramps import linear_ramp
from semisonic.algorithms.settings import ADAM, GRAY_RECIPES, Changes, Setting
from semisonic.contract import Batch, Info, Seen, StepOutput, Views, parted
from semisonic.models.decoder import Decoder
from semisonic_kernels import transformations
from semisonic_kernels.boxes import boxes_around, mean_filled
from semisonic_kernels.enhance import enhance
from semisonic_kernels.losses import consistency_loss, probability_mse, sharpen
from semisonic_kernels.warp import warp

PARAMETERS = (8, 6, 5, 4, 4)
"""How many each decoder finds."""
GRAY = 128.0
"""Byte that is painted where a warped image ends."""
Weight = Annotated[float, Field(ge=0, le=1e6)]
Five = tuple[Weight, Weight, Weight, Weight, Weight]


class EnAETConfig(MixMatchConfig):
    name: Literal["enaet"] = "enaet"  # type: ignore[assignment]
    ramp: float = Field(51_200.0, ge=0, le=1e9)
    """Steps over which MixMatch's weight rises from 0; up to 1, a share of the run; 0 = the whole from the start."""
    slopes: Five = (10.0, 7.5, 5.0, 2.0, 0.5)
    """Weights that the decoders' losses would reach at the end of the run: projective, affine, similarity, Euclidean,
    enhancement."""
    most: Five = (1.0, 0.75, 0.5, 0.2, 0.05)
    """Weights at which they stop."""
    consistency: float = Field(1.0, ge=0, le=1e6)
    """Weight of the divergence between the guess and the predictions for transformed images."""
    shift: float = Field(0.125, ge=0, lt=0.25)
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
    """Factors of color, contrast, brightness and sharpness are 1 - enhance to 1 + enhance."""
    patch: float = Field(0.25, ge=0, le=1)
    """Side of the square of mean color, as a share of the image's; 0 = no such view."""


class EnAET(MixMatch):
    Config = EnAETConfig
    cfg: EnAETConfig

    @classmethod
    def views(cls, cfg: EnAETConfig) -> Views:  # type: ignore[override]
        base, count = super().views(cfg), cfg.views + bool(cfg.patch)
        widths = {"projective": transformations.PROJECTIVE, "affine": transformations.AFFINE}
        widths |= {"enhancement": transformations.ENHANCEMENT} | ({"patch": 2} if cfg.patch else {})
        return replace(base, draws={"lam": count, "partner": count, **widths})

    @classmethod
    def problems(cls, cfg: EnAETConfig, labeled: int, unlabeled: int) -> list[str]:  # type: ignore[override]
        errors = super().problems(cfg, labeled, unlabeled)
        if 4 * cfg.shift >= 1 - cfg.scale:  # a corner could come to lie on the diagonal between its neighbors
            errors.append(f"algorithm.shift: corners may meet at {cfg.shift}; take less than {(1 - cfg.scale) / 4:g}")
        return errors

    def setup(self, info: Info) -> None:
        network: Any = self.network
        build: Any = self.build  # each decoder has weights of its own
        self.decoders = nn.ModuleList(
            Decoder(build().last_stage() if self.has_maps else None, network.feature_dim, count) for count in PARAMETERS
        )

    def loss(self, batch: Batch) -> StepOutput:
        cfg, first = self.cfg, batch.u["weak1"]
        if cfg.patch:
            side = round(cfg.patch * first.shape[-1])
            filled = mean_filled(first, boxes_around(batch.draws["patch"], side, side, *first.shape[2:]))
            batch = batch._replace(u=batch.u | {"patch": filled})
        target_UC = sharpen(self.guess(batch), cfg.temperature)
        mixed, q_NC = self.mixture(batch, target_UC)
        changed, theta = self.transform(first, batch.draws)
        changed += [self.normalize(batch.u["patch"])] if cfg.patch else []

        labels, mixtures, count = len(batch.y), len(mixed), len(target_UC)
        rows = [*self.mixture_rows(batch), *[count] * len(changed)]
        encoded = self.encode(torch.cat([mixed, *changed, self.normalize(first)]), [*rows, count])
        mix, moved = parted(self.look_at_encoded(encoded[:-count], rows), mixtures)
        x, u = parted(mix, labels)
        labeled = self.mixed_labeled_loss(x, q_NC[:labels], batch.y, batch.x_index)
        unlabeled = probability_mse(self.trained_logits(u), q_NC[labels:])
        decoded = self.decode(encoded[-count:], torch.split(encoded[mixtures:-count], count), theta)
        cross_entropy = consistency_loss(self.trained_logits(moved), target_UC.repeat(len(changed), 1))
        divergence = cross_entropy - torch.special.entr(target_UC).sum(-1).mean()
        loss = labeled + cfg.weight * linear_ramp(self.step, cfg.ramp, self.info.steps) * unlabeled
        loss = loss + (self.decoder_weights() * decoded).sum() + cfg.consistency * divergence

        label_U = target_UC.argmax(-1)
        metrics = {
            **loss_metrics(labeled, unlabeled, x.logits, batch.y),
            "loss_decoders": decoded.detach(),
            "loss_consistency": divergence.detach(),
            **pseudo_label_metrics(label_U, torch.ones_like(label_U), batch.u_true, self.info.classes),
        }
        return StepOutput(loss, metrics, {})

    def unlabeled_views(self, batch: Batch) -> list[Tensor]:
        """MixMatch's, and the one with a square of mean color once `loss` has made it."""
        own = [batch.u["patch"]] if self.cfg.patch and "patch" in batch.u else []
        return super().unlabeled_views(batch) + own

    def transform(self, pixels: Tensor, draws: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """t1 to t5 of images given as bytes [U, 3, H, W], normalized, and their parameters theta_k [U, .]."""
        cfg, size = self.cfg, pixels.shape[-1]
        family = transformations.affine_family(draws["affine"], size, cfg.degrees, cfg.translate, cfg.scale, cfg.shear)
        corners = transformations.projective(draws["projective"], size, cfg.shift, cfg.scale, cfg.quarter_turns)
        factors_U4 = transformations.enhancement(draws["enhancement"], cfg.enhance)
        images, fill_C = self.normalize(pixels), ((GRAY - self.pixel_mean) * self.pixel_scale).flatten()
        warped = [warp(images, matrices, fill_C) for matrices, _ in (corners, *family)]
        theta = [corners[1], *(parameters for _, parameters in family), factors_U4]
        return [*warped, self.normalize(enhance(pixels, factors_U4))], theta

    @property
    def has_maps(self) -> bool:
        """Whether the network can be cut before its last stage."""
        return hasattr(self.network, "trunk")

    def encode(self, images: Tensor, rows: list[int] | None = None) -> Tensor:
        """Maps before the last stage, or where the network has none, features; the tracking forward."""
        network: Any = self.network
        return self._run(network.trunk if self.has_maps else network.features, images, track=True, rows=rows)

    def look_at_encoded(self, encoded: Tensor, rows: list[int]) -> Seen:
        """What the network makes of what `encode` gives; the rest of the tracking forward."""
        network: Any = self.network
        features = self._run(network.top, encoded, track=True, rows=rows) if self.has_maps else encoded
        return Seen(self.head(features, rows=rows), features)

    def decode(self, original: Tensor, transformed: Sequence[Tensor], theta: list[Tensor]) -> Tensor:
        """L_1 to L_5 [5]: mean squared errors of the decoders."""
        losses = []
        for decoder, maps, wanted in zip(self.decoders, transformed, theta, strict=False):  # none decodes the patch
            rows = [len(original), len(maps)]
            found = self._run(decoder, torch.cat([original, maps]), track=True, rows=rows)
            losses.append(F.mse_loss(found, wanted.to(found.dtype)))
        return torch.stack(losses)

    @classmethod
    def depends_on_steps(cls, cfg: EnAETConfig) -> list[str]:
        return [*super().depends_on_steps(cfg), "slopes"]

    def decoder_weights(self) -> Tensor:
        """w_k [5], float32."""
        ramp = linear_ramp(self.step, self.info.steps)
        pairs = zip(self.cfg.slopes, self.cfg.most, strict=True)
        return torch.stack([(slope * ramp).clamp(max=most) for slope, most in pairs])

    @classmethod
    def ramped(cls, cfg: EnAETConfig, steps: int) -> float:
        """MixMatch's weight, and those of the decoders: a slope that is above its limit ends before the run does."""
        shares = [min(1.0, most / slope) for slope, most in zip(cfg.slopes, cfg.most, strict=True) if slope]
        return max(super().ramped(cfg, steps), steps * max(shares, default=0.0))

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """EnAET: MixMatch and five transformation decoders, 128 + 128 images, Adam 0.002, ramp of 50 epochs.

        Cost: 1.6. Error, of the authors' repository: CIFAR-10 7.6 +- 0.34 (250), 5.35 (4,000); SVHN 3.21 +- 0.21 (250),
        2.92 (1,000); CIFAR-100 58.73 (1,000), 26.93 (10,000); STL-10 8.04 (1,000).
        """
        own = {"weight": UNLABELED_WEIGHTS.get(setting.recipe, 75.0)} | setting.ramp() | setting.block()
        if setting.recipe in GRAY_RECIPES:
            # Ink that is turned far is another class. In a short run most guesses that a divergence spreads are wrong.
            own |= {"degrees": 30.0, "quarter_turns": False, "consistency": 0.1}
            return {"batch": {"unlabeled_ratio": 2}, "algorithm": own}
        batch = {"batch": {"labeled": 128, "unlabeled_ratio": 1}}
        return (batch | ADAM if setting.paper else {}) | {"algorithm": own}
