"""Pure functions that several methods share.

Shape suffixes: B labelled batch, U unlabelled batch, C classes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm

Statistics = Literal["all", "labelled"]
"""Which images BatchNorm normalises together, and so which ones move its running statistics."""


def linear_ramp(step: Tensor, over: float, steps: int | None = None) -> Tensor:
    """From 0 at step 0 to 1 at step `over` and after it: 0-d float32. `over` 0 means 1 throughout.

    With `steps`, those of the run, an `over` of up to 1 is a share of them.
    """
    over = ramp_length(over, steps)
    return (step / over).clamp(max=1).float() if over else torch.ones_like(step, dtype=torch.float32)


def sigmoid_ramp(step: Tensor, over: float, steps: int | None = None) -> Tensor:
    """exp(-5 (1 - t/T)^2) up to step T = `over`, then 1: 0-d float32 (Temporal Ensembling, arXiv 1610.02242).

    With `steps`, those of the run, an `over` of up to 1 is a share of them.
    """
    over = ramp_length(over, steps)
    if not over:
        return torch.ones_like(step, dtype=torch.float32)
    return (-5 * (1 - (step / over).clamp(max=1)).square()).exp().float()


def classify_streams(
    algorithm: Algorithm, labelled: Tensor, *unlabelled: Tensor, statistics: Statistics, module: str = "network"
) -> tuple[Tensor, ...]:
    """Logits (float32) of the labelled view [B, 3, H, W] and of views [U, 3, H, W] of the unlabelled images.

    statistics: "all" is one forward of all views, which moves BatchNorm's running statistics. "labelled" is one of the
    labelled view, which moves them, and one of the others, which have batch statistics of their own and move nothing.
    The EMA network never moves any.
    """
    if statistics == "all":
        return algorithm.classify(labelled, *unlabelled, module=module)
    return (*algorithm.classify(labelled, module=module), *algorithm.classify(*unlabelled, module=module, track=False))


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of a scalar function at x, detached: for a step inside the step, as VAT's power iteration is.

    Leaves every parameter's .grad and all that hangs on it (hooks of DDP and DeepSpeed) alone, in eager code and
    inside one compiled graph, where torch.autograd.grad cannot be. What the function reads besides x is a constant;
    it must change nothing, so its forwards have `track=False`.
    """
    if torch.compiler.is_compiling():
        with torch.no_grad():  # holds outside of the transform only: no graph of the gradient itself
            return torch.func.grad(function)(x.detach())
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x), x)[0]


def ramp_length(over: float, steps: int | None) -> float:
    """Steps of a ramp; `over` up to 1 is a share of the run's `steps` where those are given."""
    return over * steps if steps is not None and over <= 1 else over


def one_hot(labels_N: Tensor, classes: int) -> Tensor:
    """bool [N, C]. Other than torch's, it does not have the host check the labels on the CPU."""
    return labels_N[:, None] == torch.arange(classes, device=labels_N.device)


def loss_metrics(labelled: Tensor, unlabelled: Tensor, logits_BC: Tensor, label_B: Tensor) -> dict[str, Tensor]:
    """What every method with unlabelled images logs: both losses, and the accuracy on the labelled images; detached."""
    return {
        "loss_labelled": labelled.detach(),
        "loss_unlabelled": unlabelled.detach(),
        "labelled_accuracy": logits_BC.argmax(-1).eq(label_B).float().mean(),
    }


def pseudo_label_metrics(label_U: Tensor, mask_U: Tensor, true_U: Tensor, classes: int) -> dict[str, Tensor]:
    """What is logged about pseudo-labels: labels [U], which of them count (0..1) [U], true classes [U] (-1 unknown).

    All are means over the whole batch, so that they average over steps and ranks; precision is
    pseudo_label_correct / pseudo_label_known, and class_share [C] sums to `mask`.
    """
    mask_U = mask_U.detach().float()
    shares_UC = one_hot(label_U, classes) * mask_U[:, None]
    return {
        "mask": mask_U.mean(),
        "pseudo_label_correct": (mask_U * (label_U == true_U)).mean(),
        "pseudo_label_known": (mask_U * (true_U >= 0)).mean(),
        "class_share": shares_UC.mean(0),
    }


def mixing_partners(keys: Sequence[Tensor], blocks: int, kept: Sequence[Tensor] | None = None) -> Tensor:
    """A random partner for each image of several groups (the labelled images, views of the unlabelled ones).

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


def block_first(values: Tensor, count: int, blocks: int) -> Tensor:
    """The first of each block's values [N], one for each of a group's `count` images: [count]."""
    return values.view(blocks, -1)[:, :1].expand(-1, count // blocks).flatten()


def check_block(block: int, labelled: int, unlabelled: int = 0) -> list[str]:
    """What speaks against mixing in blocks of so many labelled images, with such shares of a rank's micro-batch."""
    if labelled % block:
        return [
            f"algorithm.block: blocks of {block} labelled images do not divide a rank's micro-batch of {labelled}; "
            "take a divisor of it"
        ]
    if block * unlabelled % labelled:
        return [
            f"algorithm.block: {block} labelled images have no whole number of the {unlabelled} unlabelled ones beside "
            f"{labelled}; take a multiple of {labelled // math.gcd(labelled, unlabelled)} that divides {labelled}"
        ]
    return []
