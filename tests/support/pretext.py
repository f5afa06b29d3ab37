"""Pretext tasks by hand, their batches, and the command line of a short run."""

import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.rotnet import RotNet
from semisonic.algorithms.simclr import SimCLR
from semisonic.contract import Batch
from tests.support.algorithms import batch, images


def by_hand(pixels: Tensor, turns: Tensor) -> Tensor:
    turned = [torch.rot90(image, k, (1, 2)) for image, k in zip(pixels.cpu(), turns.tolist(), strict=True)]
    return torch.stack(turned).to(pixels.device)


def xent_by_hand(z: Tensor, temperature: float) -> Tensor:
    """Pair by pair, as the paper writes it."""
    count, terms = len(z), []
    for i in range(count):
        j = (i + count // 2) % count
        others = [torch.exp(z[i] @ z[k] / temperature) for k in range(count) if k != i]
        terms.append(-torch.log(torch.exp(z[i] @ z[j] / temperature) / torch.stack(others).sum()))
    return torch.stack(terms).mean()


UNLABELED = {RotNet: {"view": images(12, 3)}, SimCLR: {"view_1": images(12, 3), "view_2": images(12, 4)}}


def given(kind: type[Algorithm], **changes: object) -> Batch:
    return batch(**({"u": UNLABELED[kind]} | changes))


QUICK = ["--device", "cpu", "--threads", "1", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2", "--steps", "2",
         "--eval.batch", "128", "--log.trackers", "none"]  # fmt: skip
