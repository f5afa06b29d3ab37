"""Algorithms on a tiny network, and batches for them."""

import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.check.tiny import CLASSES, SIZE, TinyNetwork, batch, batch_for, images, info, tiny_network
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig

__all__ = [
    "CLASSES", "SIZE", "TinyNetwork", "batch", "batch_for", "frozen", "gradients", "images", "info", "make",
    "mixing_batch", "mixmatch", "same", "tiny_network",
]  # fmt: skip


def make(kind: type[Algorithm], **fields: object) -> Algorithm:
    torch.manual_seed(0)
    return kind(kind.Config(**fields), tiny_network, info(), EmaConfig(decay=0.9, start_up="none")).double()


def mixing_batch(views: int = 2, lam: float | None = None, seed: int = 0) -> Batch:
    """6 labeled and 12 unlabeled images with the draws of MixMatch; `lam`: for all images, else random ones."""
    bits = torch.Generator().manual_seed(seed)
    draws = {
        "lam": torch.rand(12, views, generator=bits), "partner": torch.rand(12, views, generator=bits),
        "labeled_lam": torch.rand(6, 1, generator=bits), "labeled_partner": torch.rand(6, 1, generator=bits),
    }  # fmt: skip
    if lam is not None:
        draws |= {name: torch.full_like(draws[name], lam) for name in ("lam", "labeled_lam")}
    return batch(u={f"weak{k}": images(12, 2 + k) for k in range(1, views + 1)}, draws=draws)


def mixmatch(steps_done: int = 30, kind: type[Algorithm] = MixMatch, **fields: object) -> Algorithm:
    """In the middle of a ramp over 60 steps, in blocks of 3 labeled images."""
    algorithm = make(kind, **({"block": 3, "ramp": 60.0} | fields))
    algorithm.step += steps_done
    return algorithm


def gradients(algorithm: Algorithm, of: Batch) -> dict[str, Tensor]:
    algorithm.zero_grad()
    algorithm.loss(of).loss.backward()
    return {name: p.grad.clone() for name, p in algorithm.named_parameters() if p.grad is not None}


def same(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float = 1e-12) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=0, atol=tolerance) for k in a)


def frozen(algorithm: Algorithm) -> Algorithm:
    """BatchNorm in evaluation mode, so that the batch's composition has no part in a sample's logits."""
    return algorithm.eval()
