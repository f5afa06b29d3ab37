"""What methods have in common that guess labels from a weak view and train a strong one on them.

Shape suffixes: B labeled batch, U unlabeled batch.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from semisonic.algorithms.add_on import CHANGES
from semisonic.algorithms.base import Algorithm
from semisonic.contract import SEEN, Batch, Seen, Views
from semisonic.schema import Config


class WeakStrongViews(Config):
    """Of methods that have no threshold of their own, too."""

    name: str = ""
    weight: float = Field(1.0, ge=0, le=1e6)
    """Weight of the unlabeled loss."""
    weak: str = "weak"
    """Augmentation of the labeled images and of the views that give pseudo-labels."""
    strong: str = "fixmatch"
    """Augmentation of the views that are trained on pseudo-labels."""
    weak_pass: Literal["joint", "separate"] = "joint"
    """joint: one forward of all views, as in the papers. separate: weak views give their labels in a forward without
    gradient, beside the labeled images, which moves BatchNorm's running statistics; labeled and strong views then go
    through one with gradient, which moves none. That is another method, and a cheaper one: weak views have no backward.
    Without BatchNorm it is the same method, and labeled images go through the second forward alone."""
    labeled_view: Literal["weak", "strong"] = "weak"
    """Which of the two policies the labeled images are seen by; the papers' is the weak one."""


class WeakStrongConfig(WeakStrongViews):
    threshold: float = Field(0.95, ge=0, le=2)
    """Confidence from which a pseudo-label counts; above 1 none does."""


class WeakStrong(Algorithm):
    """Base of those methods: their views, and the forwards in which the network sees them."""

    cfg: WeakStrongViews
    open_to: ClassVar[tuple[str, ...]] = CHANGES

    @classmethod
    def views(cls, cfg: WeakStrongViews) -> Views:
        policies = {"weak": cfg.weak, "strong": cfg.strong}
        return Views(labeled={cfg.labeled_view: policies[cfg.labeled_view]}, unlabeled=policies)

    @classmethod
    def sees(cls, cfg: WeakStrongViews) -> tuple[str, ...]:
        return SEEN

    def look_at(self, batch: Batch) -> tuple[Seen, Seen, Seen]:
        """What the network makes of the labeled view [B], the weak view [U] and the strong view [U]."""
        labeled = batch.x[self.cfg.labeled_view]
        (x,), weak, (strong,) = self.look_at_views([labeled], batch.u["weak"], [batch.u["strong"]])
        return x, weak, strong

    def look_at_views(
        self, labeled: Sequence[Tensor], weak: Tensor, strong: Sequence[Tensor]
    ) -> tuple[tuple[Seen, ...], Seen, tuple[Seen, ...]]:
        """The same of several labeled views and several strong ones, as `weak_pass` has it; images are uint8
        [N, 3, H, W]. Where the weak view has a forward of its own, what is seen of it has no gradient."""
        count = len(labeled)
        if self.cfg.weak_pass == "joint":
            seen = self.look(*labeled, weak, *strong)
            return seen[:count], seen[count], seen[count + 1 :]
        beside = labeled if self.by_batch else ()
        with torch.no_grad():
            *_, guessed = self.look(*beside, weak)
        seen = self.look(*labeled, *strong, track=False)
        return seen[:count], guessed, seen[count:]
