"""What methods share that guess an image's label from its own prediction and from its neighbors in an embedding.

    z = normalize(mean over k of g_k(features)): a unit vector; g_k are `projectors`, each Linear, ReLU, Linear
    p = normalize(softmax(f(weak(u))) / mean of the last `window` batches' mean softmax, this one's included)

One projector is CoMatch's and SimMatch's; three, whose mean is taken before it is normalized, are EPASS (Nguyen 2023,
arXiv 2310.15764). Alignment and guesses couple all samples of a batch, so that it cannot be cut into micro-batches.
Projectors are trained and saved, but neither averaged nor exported.
Shape suffixes: B labeled batch, U unlabeled batch, C classes, D features, P dimensions of z.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.add_on import LOGITS
from semisonic.algorithms.alignment import MeanWindow, mean_prediction
from semisonic.algorithms.simclr import projector
from semisonic.algorithms.weak_strong import WeakStrong, WeakStrongConfig
from semisonic.contract import Guess, Info, Seen


class NeighborsConfig(WeakStrongConfig):
    own_share: float = Field(0.9, ge=0, le=1)
    """alpha: share of an image's own prediction in the label that is guessed; the rest is its neighbors'."""
    temperature: float = Field(0.2, gt=0, le=100)
    """Divides the cosines of embeddings."""
    dimensions: int = Field(64, ge=1, le=2**16)
    """Of the embedding."""
    projectors: int = Field(1, ge=1, le=16)
    """Projectors whose mean is the embedding; EPASS has 3."""
    window: int = Field(32, ge=0, le=10**6)
    """Batches in the running mean of predictions, by which they are aligned; 0 = no alignment."""


class Neighbors(WeakStrong, MeanWindow):
    """Base of those methods. A subclass states `loss`, and its memory in `setup` and `update`."""

    cfg: NeighborsConfig
    open_to = (*LOGITS, "mask")
    micro_batches = False

    @classmethod
    def aligns(cls, cfg: NeighborsConfig) -> bool:
        return cfg.window > 0

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.projectors = nn.ModuleList(projector(width, self.cfg.dimensions) for _ in range(self.cfg.projectors))
        self.open_window(max(1, self.cfg.window), info.classes)

    def embed(self, *seen: Seen) -> tuple[Tensor, ...]:
        """z [N, P] of each view, in float32 also where the network runs in less."""
        sizes = [len(view.features) for view in seen]
        features_ND = torch.cat([view.features for view in seen])
        projected = [self.head(features_ND, f"projectors.{k}", sizes) for k in range(len(self.projectors))]
        return torch.split(F.normalize(torch.stack(projected).mean(0), dim=1), sizes)

    @torch.no_grad()
    def predicted(self, weak: Seen) -> tuple[Tensor, Tensor]:
        """The aligned predictions p [U, C], and the global batch's mean before their alignment [C]."""
        logits_UC = self.guessed_logits(weak)
        mean_C = mean_prediction(logits_UC)
        if self.cfg.window:
            # A class that no prediction has known for as long stays at 0.
            logits_UC = logits_UC - positive(self.running(mean_C)).log()
        return logits_UC.softmax(-1), mean_C

    @torch.no_grad()
    def guess(self, q_UC: Tensor) -> Guess:
        """The soft labels q [U, C], and 1 in the mask where the largest probability reaches the threshold."""
        return self.guess_from(positive(q_UC).log(), self.cfg.threshold)._replace(targets=q_UC)


def positive(p: Tensor) -> Tensor:
    """Probabilities whose logarithm is finite, and by which may be divided."""
    return p.clamp(min=torch.finfo(p.dtype).tiny)
