"""Add-ons of other kinds than the built-in ones, each as short as its paper allows; they prove what can be added.

Shape suffixes: B labeled batch, U unlabeled batch, C classes, D features, K classes of the labeled set.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.add_on import AddOn, Base, Term
from semisonic.contract import Batch, Guess, Info, OwnStream, Seen, StepOutput, Views
from semisonic.schema import Config
from semisonic_kernels.losses import one_hot


class Weighted(Config):
    weight: float = Field(0.0, ge=0, le=100)


class Once(AddOn):
    """Part of a run where its weight is not 0."""

    Config = Weighted
    cfg: Weighted

    @classmethod
    def active(cls, cfg: Weighted, base: Base) -> bool:
        return cfg.weight > 0


class DST(Once):
    """Debiased self-training (Chen et al. 2022, 2202.07136) without its worst case: pseudo-labels train another head,
    so that the head which guesses them gets no gradient from them."""

    def setup(self, algorithm: Any, info: Info) -> None:
        self.pseudo = nn.Linear(algorithm.network.feature_dim, info.classes)

    def trained_logits(self, logits_UC: Tensor, seen: Seen) -> Tensor:
        return self.pseudo(seen.features).to(logits_UC.dtype)


class ABC(Once):
    """Auxiliary balanced classifier (Lee et al. 2021, 2110.10368): a head on the base's features, trained on a part of
    each class that is the smaller the more common the class is, and used in place of the main one."""

    own_head = "balanced"
    reads = ("labeled", "guessed", "trained")
    share_C: Tensor

    @classmethod
    def views(cls, cfg: Weighted, base: Base) -> Views:
        return Views(labeled_draws={"abc_labeled": 1}, draws={"abc": 1})

    def setup(self, algorithm: Any, info: Info) -> None:
        self.balanced = nn.Linear(algorithm.network.feature_dim, info.classes)
        prior_C = torch.tensor(info.class_prior)
        self.register_buffer("share_C", prior_C.min() / prior_C)

    def keep(self, label: Tensor, draw: Tensor) -> Tensor:
        return (draw[:, 0] < self.share_C[label]).to(self.share_C.dtype)

    def term(self, algorithm: Any, batch: Batch, output: StepOutput) -> Term:
        x, weak, strong = (output.seen[name] for name in self.reads)
        kept_B = self.keep(batch.y, batch.draws["abc_labeled"])
        loss = (kept_B * F.cross_entropy(self.balanced(x.features), batch.y, reduction="none")).mean()
        with torch.no_grad():
            q_UC = self.balanced(weak.features).softmax(-1)
            kept_U = self.keep(q_UC.argmax(-1), batch.draws["abc"]) * (q_UC.amax(-1) >= 0.3)
        counted_U = kept_U if weak.mask is None else kept_U * weak.mask
        loss = loss + (counted_U * F.cross_entropy(self.balanced(strong.features), q_UC, reduction="none")).mean()
        return Term(self.cfg.weight * loss, {"abc_kept": kept_U.mean()})


class Adsh(Once):
    """Adaptive thresholds by rank (Guo and Li 2022, ICML): of each class the surest part counts, as large as that of the
    most common class above 0.95 would be: no softmax of shifted logits gives this mask. The thresholds follow what was
    observed of all ranks."""

    threshold_C: Tensor

    def setup(self, algorithm: Any, info: Info) -> None:
        self.register_buffer("threshold_C", torch.full((info.classes,), 0.3))

    def mask(self, guess: Guess) -> Tensor:
        return (guess.confidence >= self.threshold_C[guess.labels]).to(guess.mask.dtype)

    def term(self, algorithm: Any, batch: Batch, output: StepOutput) -> Term:
        seen = output.seen["guessed"]
        confidence_U, label_U = seen.logits.detach().softmax(-1).max(-1)
        return Term(observed={"confidence": confidence_U, "label": label_U})

    def update(self, observed: dict[str, Tensor]) -> None:
        confidence_N, label_N = observed["confidence"].to(self.threshold_C.dtype), observed["label"]
        own_NC = one_hot(label_N, len(self.threshold_C))
        descending_NC = torch.where(own_NC, confidence_N[:, None], -1.0).sort(0, descending=True).values
        count_C = own_NC.sum(0)
        share = (descending_NC[:, 0] >= 0.3).sum().clamp(min=1) / count_C[0].clamp(min=1)
        rank_C = (share.clamp(max=1) * count_C).long().clamp(min=1) - 1
        found_C = descending_NC.gather(0, rank_C[None])[0]
        self.threshold_C.copy_(torch.where(count_C > 0, found_C, self.threshold_C))


class Balanced(Once):
    """Cross-entropy of class-balanced draws of the labeled images, a stream of its own, with an offset of predictions."""

    offset_C: Tensor

    @classmethod
    def views(cls, cfg: Weighted, base: Base) -> Views:
        return Views(streams={"balanced": OwnStream({"weak": "weak"}, ratio=1.0, balanced=True, draws={"spare": 1})})

    def setup(self, algorithm: Any, info: Info) -> None:
        self.register_buffer("offset_C", torch.arange(info.classes) / 10)

    def term(self, algorithm: Any, batch: Batch, output: StepOutput) -> Term:
        own = batch.streams["balanced"]
        (logits_NC,) = algorithm.classify(own.views["weak"], track=False)
        return Term(self.cfg.weight * F.cross_entropy(logits_NC, own.y), observed={"y": own.y})

    def prediction_offset(self) -> Tensor:
        return self.offset_C


THROW_AWAY = {"dst": DST, "abc": ABC, "adsh": Adsh, "balanced": Balanced}
"""By their names in `addons.NAME.weight`."""
