"""RotNet: pre-training by the recognition of rotations (Gidaris et al. 2018, arXiv 1803.07728).

    L = mean over U images and k = 0..3 of H(k, g(features(rot_k(view(u))))) + linear probe (see pretext.py)

All four quarter turns of each image are in the batch, exact and after the crop; they share one forward, which tracks
BatchNorm. g is a linear head with 4 outputs. Digits and other images that look alike when turned (6 and 9) teach it
less. The paper's setting: 128 images a step, SGD with rate 0.1, Nesterov momentum 0.9, weight decay 5e-4, 200 epochs.
Shape suffixes: U unlabeled batch, D features.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.pretext import Pretext
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Info, Views
from semisonic.schema import Config
from semisonic_kernels.rotate import rotations


class RotNetConfig(Config):
    name: Literal["rotnet"] = "rotnet"
    view: str = "weak"
    """Augmentation of the unlabeled images, before they are rotated."""
    weak: str = "weak"
    """Augmentation of the labeled images, which the linear probe alone learns from."""


class RotNet(Pretext):
    Config = RotNetConfig
    cfg: RotNetConfig

    @classmethod
    def views(cls, cfg: RotNetConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"view": cfg.view})

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.rotation = nn.Linear(width, 4)

    def pretext(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images = batch.u["view"]
        rows = [len(images)] * 4
        (features_4UD,) = self.features(rotations(images), rows=rows)
        logits_4U4 = self.head(features_4UD, "rotation", rows)
        turns_4U = torch.arange(4 * len(images), device=images.device) // len(images)
        accuracy = logits_4U4.argmax(-1).eq(turns_4U).float().mean()
        return F.cross_entropy(logits_4U4, turns_4U), {"rotation_accuracy": accuracy}

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """RotNet's pre-training: 200 epochs of 128 images in four turns, SGD 0.1; a cosine, where the paper has steps.

        Cost: 0.58 a step (four turns, a probe on the labeled images), 78,000 steps: 0.04 of FixMatch's run. The error
        of the linear probe that is reported is not the paper's, whose network is another.
        """
        changes: Changes = {"baseline": False}
        if setting.paper:
            changes["steps"] = 78_000
            changes["batch"] = {"labeled": 128, "unlabeled_ratio": 1}
            changes["optim"] = {"name": "sgd", "lr": 0.1, "schedule": "cosine"}
        return changes
