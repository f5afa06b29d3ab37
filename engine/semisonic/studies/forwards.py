"""MixMatch with its mixed images forwarded in other ways than in one batch: for the study of interleaving alone.

    interleaved  K+1 sub-batches of B images, each with a share of all groups, as the authors' code makes them
    separate     the labeled images, and each view of the unlabeled ones
    ranks        the rows of each of two ranks, as `mixmatch` forwards them on 2 ranks with `model.norm_sync` off

The sub-batches go through the network one after the other in training mode. Each is normalized by its own statistics,
and the first one alone moves the running ones. Losses, targets and partners are those of `mixmatch`, which has one
forward of all mixed images: with statistics that are fixed, all are the same function of the weights. The guess is that
of `mixmatch` too, one forward of all K views; with `ranks` it is one of each rank's rows. There a run on two ranks has
each evaluate half of the images by running statistics of its own; here, as from its checkpoint, all are the first's.
Shape suffixes: B labeled batch, U unlabeled batch, K views, C classes.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import Tensor

from semisonic.algorithms.mixing import block_problems
from semisonic.algorithms.mixmatch import MixMatch, MixMatchConfig
from semisonic.contract import Batch, Info, Seen
from semisonic.models.randomness import random_layers
from semisonic.schema import UserError

RANKS = 2
"""Whose rows `ranks` forwards apart."""


def interleaved(groups: Sequence[Tensor]) -> list[Tensor]:
    """Groups of B rows each, every one with a share of others in it; done twice, it gives the groups themselves.

    Each group is cut into as many shares as there are groups, the last ones being a row larger where they cannot be
    equal. The first group then exchanges its k-th share with the k-th group's: so it has one of every group, and each
    other one has the first's in place of the one that it gave. Raises ValueError for groups of different sizes.
    """
    count, sizes = len(groups), {len(group) for group in groups}
    if len(sizes) != 1:
        raise ValueError(f"groups of {[len(group) for group in groups]} rows cannot be interleaved")
    (rows,) = sizes
    shares = [rows // count + (share >= count - rows % count) for share in range(count)]
    cuts = list(pairwise(accumulate(shares, initial=0)))
    parts = [[group[begin:end] for begin, end in cuts] for group in groups]
    for k in range(1, count):
        parts[0][k], parts[k][k] = parts[k][k], parts[0][k]
    return [torch.cat(own) for own in parts]


class ForwardsConfig(MixMatchConfig):
    name: Literal["mixmatch-forwards"] = "mixmatch-forwards"  # type: ignore[assignment]  # it is another's default
    forwards: Literal["interleaved", "separate", "ranks"] = "interleaved"
    """How the mixed images go through the network."""


class Forwards(MixMatch):
    """For one process with one micro-batch a step: of a share of the batch, sub-batches would be others."""

    Config = ForwardsConfig
    cfg: ForwardsConfig
    micro_batches = False

    @classmethod
    def problems(cls, cfg: MixMatchConfig, labeled: int, unlabeled: int) -> list[str]:
        assert isinstance(cfg, ForwardsConfig)
        if cfg.forwards == "ranks":
            if labeled % RANKS or unlabeled % RANKS:
                return [f"algorithm.forwards: {labeled} and {unlabeled} images do not divide over {RANKS} ranks"]
            return block_problems(cfg.block, labeled // RANKS, unlabeled // RANKS)
        if cfg.forwards == "interleaved" and labeled != unlabeled:
            return [f"batch.unlabeled_ratio: {labeled} labeled and {unlabeled} unlabeled images cannot be interleaved; "
                    "use 1"]  # fmt: skip
        return super().problems(cfg, labeled, unlabeled)

    def setup(self, info: Info) -> None:
        if random_layers(self.network):
            raise UserError("algorithm.forwards: layers that draw random numbers need a whole batch; use a network "
                            "without dropout, random depth or random mixing")  # fmt: skip

    @torch.no_grad()
    def guess(self, batch: Batch) -> Tensor:
        if len(batch.y) != self.info.labeled_batch:
            raise UserError("algorithm.forwards: is for one process; start it without a launcher")
        if self.cfg.forwards != "ranks":
            return super().guess(batch)
        shares = by_rank(self.unlabeled_views(batch))
        guesses = [self.guess_of(self.look(*views, track=False)) for views in shares]
        return torch.cat(guesses)

    def mixed(self, batch: Batch, target_UC: Tensor, kept_U: Tensor | None = None) -> tuple[Seen, Tensor, Seen, Tensor]:
        images, targets_NC = self.mixture(batch, target_UC, kept_U)
        x, *views = self.forwarded(images.split(self.mixture_rows(batch)))
        return x, targets_NC[: len(batch.y)], joined(views), targets_NC[len(batch.y) :]

    def forwarded(self, groups: Sequence[Tensor]) -> list[Seen]:
        """What the network makes of each group of images, from the forwards of all sub-batches in order."""
        if self.cfg.forwards == "ranks":
            shares = [self.look(*own, track=number == 0) for number, own in enumerate(by_rank(groups))]
            return [joined(own) for own in zip(*shares, strict=True)]
        parts = interleaved(groups) if self.cfg.forwards == "interleaved" else groups
        seen = [self.look(part, track=number == 0)[0] for number, part in enumerate(parts)]
        if self.cfg.forwards == "separate":
            return seen
        back = [interleaved([getattr(own, name) for own in seen]) for name in ("logits", "features")]
        return [Seen(*own) for own in zip(*back, strict=True)]


def by_rank(groups: Iterable[Tensor]) -> list[tuple[Tensor, ...]]:
    """Each rank's rows of every group: consecutive ones of the global batch."""
    return list(zip(*(group.chunk(RANKS) for group in groups), strict=True))


def joined(parts: Iterable[Seen]) -> Seen:
    """What was seen of several parts of a batch, in their order."""
    own = list(parts)
    return Seen(torch.cat([seen.logits for seen in own]), torch.cat([seen.features for seen in own]))
