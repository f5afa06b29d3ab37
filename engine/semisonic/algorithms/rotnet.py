"""RotNet: pre-training by the recognition of rotations (Gidaris et al. 2018, arXiv 1803.07728).

    L = mean over U images and k = 0..3 of H(k, g(features(rot_k(view(u))))) + linear probe (see pretext.py)

All four quarter turns of each image are in the batch, exact and after the crop; they share one forward, which tracks
BatchNorm. g is a linear head with 4 outputs. Digits and other images that look alike when turned (6 and 9) teach it
less. The paper's recipe: 128 images a step, SGD with rate 0.1, Nesterov momentum 0.9, weight decay 5e-4, 200 epochs.
Shape suffixes: U unlabelled batch, D features.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.pretext import Pretext
from semisonic.contract import Batch, Info, Views
from semisonic.schema import Config
from semisonic_kernels.rotate import rotations


class RotNetConfig(Config):
    name: Literal["rotnet"] = "rotnet"
    view: str = "weak"
    """Augmentation of the unlabelled images, before they are rotated."""
    weak: str = "weak"
    """Augmentation of the labelled images, which the linear probe alone learns from."""


class RotNet(Pretext):
    Config = RotNetConfig

    @classmethod
    def views(cls, cfg: RotNetConfig) -> Views:
        return Views(labelled={"weak": cfg.weak}, unlabelled={"view": cfg.view})

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.rotation = nn.Linear(width, 4)

    def pretext(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images = batch.u["view"]
        (features_4UD,) = self.features(rotations(images))
        logits_4U4 = self.head(features_4UD, "rotation")
        turns_4U = torch.arange(4 * len(images), device=images.device) // len(images)
        accuracy = logits_4U4.argmax(-1).eq(turns_4U).float().mean()
        return F.cross_entropy(logits_4U4, turns_4U), {"rotation_accuracy": accuracy}
