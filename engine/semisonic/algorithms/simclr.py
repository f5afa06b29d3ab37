"""SimCLR: contrastive pre-training (Chen et al. 2020, arXiv 2002.05709).

    z_i = unit vector of g(features(view_1(u))) and of g(features(view_2(u))), 2U of them over all ranks
    L   = mean over i of -log exp(z_i z_j / T) / sum over k != i of exp(z_i z_k / T), j the other view of i's image
          + linear probe (see pretext.py)

Both views go through one forward, which tracks BatchNorm; statistics and negatives are those of the global batch, so
that it cannot be cut into micro-batches. g is Linear, ReLU, Linear. The authors' CIFAR-10 setting: ResNet-18, 512
images a step, 1,000 epochs, LARS (`optim.name=lars`) with a rate of 1.0 for 256 images, so 2.0, after 10 epochs of
warm-up a cosine to 0, weight decay 1e-6, T 0.5. Here g has no BatchNorm, which the authors' code has, and the probe,
which there has a plain rate, is adapted like any other layer.
Shape suffixes: U unlabeled batch, D features, P dimensions of z.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.pretext import Pretext
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Batch, Info, Views
from semisonic.schema import Config
from semisonic_kernels.contrastive import contrastive_loss

DIMENSIONS = 128


class SimCLRConfig(Config):
    name: Literal["simclr"] = "simclr"
    temperature: float = Field(0.5, gt=0, le=100)
    """Divides the cosines of two views (T)."""
    dimensions: int = Field(DIMENSIONS, ge=1, le=2**16)
    """Of the space in which views are compared."""
    view: str = "simclr"
    """Augmentation of both views of the unlabeled images."""
    weak: str = "weak"
    """Augmentation of the labeled images, which the linear probe alone learns from."""


class SimCLR(Pretext):
    Config = SimCLRConfig
    cfg: SimCLRConfig
    micro_batches = False  # the negatives are those of the whole batch
    growing_batches = False  # their number is part of the task

    @classmethod
    def views(cls, cfg: SimCLRConfig) -> Views:
        return Views(labeled={"weak": cfg.weak}, unlabeled={"view_1": cfg.view, "view_2": cfg.view})

    def setup(self, info: Info) -> None:
        width: Any = self.network.feature_dim
        self.projector = projector(width, self.cfg.dimensions)

    def pretext(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        first_UD, second_UD = self.features(batch.u["view_1"], batch.u["view_2"])
        first_UP, second_UP = self.head(first_UD, "projector"), self.head(second_UD, "projector")
        similarity = F.cosine_similarity(first_UP, second_UP).mean()
        return contrastive_loss(first_UP, second_UP, self.cfg.temperature), {"partner_similarity": similarity.detach()}

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """SimCLR's pre-training: 1,000 epochs of 512 images in two views, ResNet-18, LARS 2.0 with a cosine.

        Cost: 1.1 times FixMatch's images a step, of ResNet-18; 98,000 steps. The authors' repository reports about 9
        per cent error on CIFAR-10 of a linear head that is trained afterwards, with all labels, for 100 epochs; the
        probe's error here is another, and of the run's labels alone. Other data get these settings of CIFAR-10 too.
        """
        changes: Changes = {"baseline": False}
        if setting.paper:
            changes["steps"] = 98_000
            changes["model"] = {"name": "resnet18"}
            changes["batch"] = {"labeled": 64, "unlabeled_ratio": 8}
            changes["optim"] = {
                "name": "lars", "lr": 2.0, "weight_decay": 1e-6, "schedule": "cosine", "warm_up": 980
            }  # fmt: skip
        return changes


def projector(features: int, dimensions: int) -> nn.Module:
    """g: features [N, D] -> [N, P], with a hidden layer as wide as the features."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, dimensions))
