"""ReFixMatch: what is below the threshold teaches, too, by soft labels (listed in USB; code beside arXiv 2310.15787).

    q   = p(weak(u)), p^T = softmax(f(weak(u)) / temperature), no gradient;   m = 1[max q >= T]
    L_u = mean over all U of m * H(argmax q, p(strong(u))) + (1 - m) * KL(p^T || p(strong(u)))
    L   = mean_B H(y, p(weak(x))) + weight * L_u

T is FixMatch's threshold, or FlexMatch's of the class argmax q, by its table of what the pool has learned. Each sample
is in one of the two terms, and both divide by all U. The temperature is of the soft labels alone. All three views go
through one tracking forward, unless `weak_pass` separates them.
Shape suffixes: B labeled batch, U unlabeled batch, C classes.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.flexmatch import FlexMatch, FlexMatchConfig
from semisonic.algorithms.settings import Changes, Setting
from semisonic.contract import Guess
from semisonic.schema import UsedWith
from semisonic_kernels.losses import consistency_loss, kl_divergence


class ReFixMatchConfig(FlexMatchConfig):
    name: Literal["refixmatch"] = "refixmatch"  # type: ignore[assignment]
    thresholds: Literal["fixed", "flexmatch"] = "fixed"
    """fixed: `threshold` for all classes, as in FixMatch. flexmatch: lower for classes that are learned little, by
    `warm_up` and `mapping`."""
    mapping: Annotated[Literal["convex", "linear", "concave"], UsedWith("thresholds", ("flexmatch",))] = "convex"
    temperature: float = Field(0.5, gt=0, le=100)
    """Sharpens the soft labels of samples below the threshold; 1 leaves them as they are."""


class ReFixMatch(FlexMatch):
    Config = ReFixMatchConfig
    cfg: ReFixMatchConfig

    def thresholds(self) -> Tensor:
        """T, float64 [C]."""
        if self.cfg.thresholds == "flexmatch":
            return super().thresholds()
        return self.learned.new_full((self.info.classes,), self.cfg.threshold, dtype=torch.float64)

    def unlabeled_loss(self, logits_UC: Tensor, guess: Guess) -> tuple[Tensor, dict[str, Tensor]]:
        hard = consistency_loss(logits_UC, guess.targets, guess.mask)
        divergence_U = kl_divergence(guess.logits / self.cfg.temperature, logits_UC)
        soft = ((1 - guess.mask) * divergence_U).mean()
        return hard + soft, {"loss_soft": soft.detach()}

    @classmethod
    def paper_settings(cls, setting: Setting) -> Changes:
        """ReFixMatch: FixMatch's settings; below the threshold soft labels of temperature 0.5.

        Cost: 1. No published errors could be read. With --algorithm.thresholds flexmatch as in the authors' code.
        """
        return {"algorithm": {"strong": "usb"}} if setting.usb else {}
