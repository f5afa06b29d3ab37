"""Who is mixed with whom, and by which share: random partners inside blocks of the global batch, which no rank or
micro-batch cuts."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

Share = Annotated[float, Field(ge=0, le=1)]


def _named(*names: str) -> BeforeValidator:
    """One of these names or a share, also as text; a ValueError says what would be valid."""

    def read(value: Any) -> Any:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if value not in names and not 0 <= number <= 1:
            raise ValueError(f"{', '.join(names)} or a number of 0 to 1")
        return value if value in names else number

    return BeforeValidator(read)


Lam = Annotated[Literal["sample", "block"] | Share, _named("sample", "block")]
"""A mixing weight for each image, one for the images of a block, or a number for all: what an image itself counts."""
SampleLam = Annotated[Literal["sample"] | Share, _named("sample")]


def mixing_partners(keys: Sequence[Tensor], blocks: int, kept: Sequence[Tensor] | None = None) -> Tensor:
    """A random partner for each image of several groups (the labeled images, views of the unlabeled ones).

    keys: for each group one uniform number per image, [N_g] each. Every group is cut into `blocks` equal blocks, and
    the k-th blocks of all groups are permuted among themselves, so that the partners do not depend on how ranks and
    micro-batches cut the global batch, as long as they cut no block. Returns positions in the concatenation of the
    groups: int64 [sum of N_g], a permutation.

    kept: for each group which images take part, bool [N_g] each; the others are their own partners.
    """
    starts = [sum(len(key) for key in keys[:group]) for group in range(len(keys))]
    rows = [torch.arange(len(k), device=k.device) + s for k, s in zip(keys, starts, strict=True)]
    rows_KN = torch.cat([row.view(blocks, -1) for row in rows], 1)
    keys_KN = torch.cat([key.view(blocks, -1) for key in keys], 1)
    homes_KN = rows_KN
    if kept is not None:
        out_KN = ~torch.cat([keep.view(blocks, -1) for keep in kept], 1)
        # Both orders end with the images that are left out, in the same order: they meet themselves.
        homes_KN = rows_KN.gather(1, out_KN.byte().argsort(dim=1, stable=True))
        keys_KN = keys_KN.masked_fill(out_KN, torch.inf)
    partners_KN = rows_KN.gather(1, keys_KN.argsort(dim=1, stable=True))
    return torch.empty_like(rows_KN.flatten()).scatter(0, homes_KN.flatten(), partners_KN.flatten())


def betas_of(lam: Lam, alpha: float, *names: str) -> dict[str, float]:
    """Which of these draws follow Beta(alpha, alpha): none where a number stands in their place."""
    return {} if isinstance(lam, float) else dict.fromkeys(names, alpha)


def mixing_weights(lam: Lam, drawn_N: Tensor, blocks: int) -> Tensor:
    """Those of a group's images [N], from one draw for each."""
    if lam == "block":
        return block_first(drawn_N, len(drawn_N), blocks)
    return drawn_N if lam == "sample" else torch.full_like(drawn_N, lam)


def block_first(values: Tensor, count: int, blocks: int) -> Tensor:
    """The first of each block's values [N], one for each of a group's `count` images: [count]."""
    return values.view(blocks, -1)[:, :1].expand(-1, count // blocks).flatten()


def block_problems(block: int, labeled: int, unlabeled: int = 0) -> list[str]:
    """What speaks against mixing in blocks of so many labeled images, with such shares of a rank's micro-batch."""
    if labeled % block:
        return [
            f"algorithm.block: blocks of {block} labeled images do not divide a rank's micro-batch of {labeled}; "
            "take a divisor of it"
        ]
    if block * unlabeled % labeled:
        return [
            f"algorithm.block: {block} labeled images have no whole number of the {unlabeled} unlabeled ones beside "
            f"{labeled}; take a multiple of {labeled // math.gcd(labeled, unlabeled)} that divides {labeled}"
        ]
    return []
