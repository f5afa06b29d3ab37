"""RotNet (arXiv 1803.07728) and SimCLR (arXiv 2002.05709) as auxiliary losses of any algorithm with one network.

    L = L_algorithm + rotation * mean H(k, g(features(rot_k(view(u))))) + simclr * NT-Xent of two views of u

k is one random quarter turn per image. All auxiliary views share one forward of their own, by their own BatchNorm
statistics; the algorithm's forward is the one that tracks. An algorithm without unlabeled images gets the stream
with the auxiliary views. With both weights 0 a run does not have this add-on.
Shape suffixes: U unlabeled batch.
"""

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.add_on import AddOn, Base, Term
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.simclr import DIMENSIONS, projector
from semisonic.contract import Batch, Info, StepOutput, Views
from semisonic.schema import Config, UsedWith
from semisonic_kernels.contrastive import contrastive_loss
from semisonic_kernels.rotate import rotate


class AuxiliaryConfig(Config):
    rotation: float = Field(0.0, ge=0, le=1e6)
    """Weight of an auxiliary loss on every unlabeled image: which of four quarter turns was it given (RotNet)?"""
    rotation_view: Annotated[str, UsedWith("rotation")] = "weak"
    """Augmentation of the images that are rotated."""
    simclr: float = Field(0.0, ge=0, le=1e6)
    """Weight of an auxiliary loss on two views of every unlabeled image: find the other among all (SimCLR)."""
    view: Annotated[str, UsedWith("simclr")] = "simclr"
    """Augmentation of both views of the contrastive loss."""
    temperature: Annotated[float, UsedWith("simclr")] = Field(0.5, gt=0, le=100)
    """Divides the cosines of two views."""

    @property
    def specs(self) -> dict[str, str]:
        """The views that the losses in use need: name -> augmentation."""
        rotated = {"auxiliary_rotated": self.rotation_view} if self.rotation else {}
        pair = {"auxiliary_1": self.view, "auxiliary_2": self.view} if self.simclr else {}
        return rotated | pair


class Auxiliary(AddOn):
    Config = AuxiliaryConfig
    cfg: AuxiliaryConfig
    former_fields = {f"auxiliary.{name}": name for name in AuxiliaryConfig.model_fields}
    former_tensors = {"auxiliary_rotation.": "rotation.", "auxiliary_projector.": "projector."}

    @classmethod
    def active(cls, cfg: AuxiliaryConfig, base: Base) -> bool:
        return bool(cfg.specs)

    @classmethod
    def views(cls, cfg: AuxiliaryConfig, base: Base) -> Views:
        return Views(unlabeled=cfg.specs, draws={"auxiliary_turns": 1} if cfg.rotation else {})

    @classmethod
    def problems(cls, cfg: AuxiliaryConfig, base: Base) -> list[str]:
        if base.kind.roles == ("network",):
            return []
        field = "rotation" if cfg.rotation else "simclr"
        return [f"addons.auxiliary.{field}: {base.name} has several networks, which take no auxiliary losses; use 0"]

    @classmethod
    def takes_micro_batches(cls, cfg: AuxiliaryConfig) -> bool:
        return not cfg.simclr  # the negatives are those of the whole batch

    @classmethod
    def takes_growing_batches(cls, cfg: AuxiliaryConfig) -> bool:
        return not cfg.simclr  # and their number is part of the task

    def setup(self, algorithm: Algorithm, info: Info) -> None:
        width: Any = algorithm.network.feature_dim
        if self.cfg.rotation:
            self.rotation = nn.Linear(width, 4)
        if self.cfg.simclr:
            self.projector = projector(width, DIMENSIONS)

    def term(self, algorithm: Algorithm, batch: Batch, output: StepOutput) -> Term:
        terms = self.losses(algorithm, batch)
        metrics = {f"loss_auxiliary_{name}": term.detach() for name, term in terms.items()}
        weighted = [getattr(self.cfg, name) * term for name, term in terms.items()]
        return Term(sum(weighted[1:], weighted[0]), metrics)

    def losses(self, algorithm: Algorithm, batch: Batch) -> dict[str, Tensor]:
        """The losses in use by the names of their weights, 0-d each, from one forward over their views."""
        views = {name: batch.u[name] for name in self.cfg.specs}
        turns_U = None
        if self.cfg.rotation:
            turns_U = (4 * batch.draws["auxiliary_turns"][:, 0]).long()
            views["auxiliary_rotated"] = rotate(views["auxiliary_rotated"], turns_U)
        features = dict(zip(views, algorithm.features(*views.values(), track=False), strict=True))
        losses = {}
        if turns_U is not None:
            logits_U4 = algorithm.head(features["auxiliary_rotated"], "addons.auxiliary.rotation")
            losses["rotation"] = F.cross_entropy(logits_U4, turns_U)
        if self.cfg.simclr:
            pair = (features["auxiliary_1"], features["auxiliary_2"])
            first, second = (algorithm.head(view, "addons.auxiliary.projector") for view in pair)
            losses["simclr"] = contrastive_loss(first, second, self.cfg.temperature)
        return losses
