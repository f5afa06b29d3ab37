"""RotNet (arXiv 1803.07728) and SimCLR (arXiv 2002.05709) as auxiliary losses of any algorithm with one network.

    L = L_algorithm + rotation * mean H(k, g(features(rot_k(view(u))))) + simclr * NT-Xent of two views of u

k is one random quarter turn per image. All auxiliary views share one forward of their own, by their own BatchNorm
statistics; the algorithm's forward is the one that tracks. An algorithm without unlabeled images gets the stream
with the auxiliary views. Both weights 0 leave the algorithm as it is.
Shape suffixes: U unlabeled batch.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.simclr import DIMENSIONS, projector
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.contrastive import contrastive_loss
from semisonic_kernels.rotate import rotate


class AuxiliaryConfig(Config):
    rotation: float = Field(0.0, ge=0)
    """Weight of an auxiliary loss on every unlabeled image: which of four quarter turns was it given (RotNet)?"""
    rotation_view: str = "weak"
    """Augmentation of the images that are rotated."""
    simclr: float = Field(0.0, ge=0)
    """Weight of an auxiliary loss on two views of every unlabeled image: find the other among all (SimCLR)."""
    view: str = "simclr"
    """Augmentation of both views of the contrastive loss."""
    temperature: float = Field(0.5, gt=0)
    """Divides the cosines of two views."""

    @property
    def specs(self) -> dict[str, str]:
        """The views that the losses in use need: name -> augmentation."""
        rotated = {"auxiliary_rotated": self.rotation_view} if self.rotation else {}
        pair = {"auxiliary_1": self.view, "auxiliary_2": self.view} if self.simclr else {}
        return rotated | pair


def auxiliary_problems(kind: type[Algorithm], name: str, auxiliary: AuxiliaryConfig) -> list[str]:
    """What speaks against these losses beside an algorithm of that name, one line each naming its field."""
    if auxiliary.specs and kind.roles != ("network",):
        field = "rotation" if auxiliary.rotation else "simclr"
        return [f"auxiliary.{field}: {name} has several networks, which take no auxiliary losses; use 0"]
    return []


def with_auxiliary(kind: type[Algorithm], auxiliary: AuxiliaryConfig) -> type[Algorithm]:
    """The algorithm with the losses that have a weight; the algorithm itself where none has."""
    base: Any = kind
    return _extended(base, auxiliary) if auxiliary.specs else kind


@cache
def _extended(kind: Any, auxiliary: AuxiliaryConfig) -> Any:
    class Extended(kind):  # type: ignore[misc]
        micro_batches = kind.micro_batches and not auxiliary.simclr

        @classmethod
        def views(cls, cfg: Any) -> Views:
            views: Views = super().views(cfg)
            draws = {**views.draws, "auxiliary_turns": 1} if auxiliary.rotation else views.draws
            return replace(views, unlabeled={**views.unlabeled, **auxiliary.specs}, draws=draws)

        def setup(self, info: Info) -> None:
            super().setup(info)
            width = self.network.feature_dim
            if auxiliary.rotation:
                self.auxiliary_rotation = nn.Linear(width, 4)
            if auxiliary.simclr:
                self.auxiliary_projector = projector(width, DIMENSIONS)

        def loss(self, batch: Batch) -> StepOutput:
            output: StepOutput = super().loss(batch)
            terms = auxiliary_losses(self, batch, auxiliary)
            loss = output.loss + sum(getattr(auxiliary, name) * term for name, term in terms.items())
            metrics = {f"loss_auxiliary_{name}": term.detach() for name, term in terms.items()}
            return output._replace(loss=loss, metrics={**output.metrics, **metrics})

    Extended.__name__ = Extended.__qualname__ = f"{kind.__name__}WithAuxiliary"
    return Extended


def auxiliary_losses(algorithm: Algorithm, batch: Batch, auxiliary: AuxiliaryConfig) -> dict[str, Tensor]:
    """The losses in use by the names of their weights, 0-d each, from one forward over their views."""
    views = {name: batch.u[name] for name in auxiliary.specs}
    turns_U = None
    if auxiliary.rotation:
        turns_U = (4 * batch.draws["auxiliary_turns"][:, 0]).long()
        views["auxiliary_rotated"] = rotate(views["auxiliary_rotated"], turns_U)
    features = dict(zip(views, algorithm.features(*views.values(), track=False), strict=True))
    losses = {}
    if turns_U is not None:
        logits_U4 = algorithm.head(features["auxiliary_rotated"], "auxiliary_rotation")
        losses["rotation"] = F.cross_entropy(logits_U4, turns_U)
    if auxiliary.simclr:
        first, second = (algorithm.head(features[f"auxiliary_{k}"], "auxiliary_projector") for k in (1, 2))
        losses["simclr"] = contrastive_loss(first, second, auxiliary.temperature)
    return losses
