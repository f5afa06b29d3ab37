"""MixMatch and FixMatch whose labels the average guesses, for the study `ema` alone.

    taught-mixmatch   q from f~ in place of f; all else is MixMatch
    taught-fixmatch   the weak view's logits from f~ in place of f; all else is FixMatch

f~ is the EMA network in training mode: it sees the same batch in one forward, without a gradient, and moves no running
statistics. The network's own forward keeps all of its views, so that its batch statistics are those of the method.
"""

from typing import Literal

import torch
from torch import Tensor

from semisonic.algorithms.fixmatch import FixMatch, FixMatchConfig
from semisonic.algorithms.mixmatch import MixMatch, MixMatchConfig
from semisonic.contract import Batch, Seen
from semisonic_kernels.losses import soft_labels


class TaughtMixMatchConfig(MixMatchConfig):
    name: Literal["taught-mixmatch"] = "taught-mixmatch"  # type: ignore[assignment]


class TaughtMixMatch(MixMatch):
    Config = TaughtMixMatchConfig

    @torch.no_grad()
    def guess(self, batch: Batch) -> Tensor:
        views = self.look(*self.unlabeled_views(batch), module="ema")
        return torch.stack([soft_labels(self.guessed_logits(seen)) for seen in views]).mean(0)


class TaughtFixMatchConfig(FixMatchConfig):
    name: Literal["taught-fixmatch"] = "taught-fixmatch"  # type: ignore[assignment]


class TaughtFixMatch(FixMatch):
    Config = TaughtFixMatchConfig

    def look_at(self, batch: Batch) -> tuple[Seen, Seen, Seen]:
        x, _, strong = super().look_at(batch)
        with torch.no_grad():
            views = (batch.x[self.cfg.labeled_view], batch.u["weak"], batch.u["strong"])
            weak = self.look(*views, module="ema")[1]
        return x, weak, strong
