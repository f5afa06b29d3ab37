"""Algorithms on a tiny network, and batches for them."""

import torch
from torch import Tensor, nn

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.contract import Batch, Info, OwnStream, Samples
from semisonic.models.ema import EmaConfig
from semisonic.models.norm import BatchNorm2d

CLASSES, SIZE = 4, 6


def info(**changes: object) -> Info:
    values: dict = {
        "classes": CLASSES, "image_size": SIZE, "labeled": 8, "unlabeled": 40, "steps": 100, "labeled_batch": 6,
        "unlabeled_batch": 12, "class_prior": (0.25,) * 4, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25),
    }  # fmt: skip
    return Info(**(values | changes))


class TinyNetwork(nn.Module):
    """What the contract asks of a network, and nothing more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3, padding=1, bias=False), BatchNorm2d(5, slope=0.1)
        self.head, self.feature_dim = nn.Linear(5, CLASSES), 5

    def features(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def tiny_network() -> nn.Module:
    return TinyNetwork()


def make(kind: type[Algorithm], **fields: object) -> Algorithm:
    torch.manual_seed(0)
    return kind(kind.Config(**fields), tiny_network, info(), EmaConfig(decay=0.9)).double()


def images(count: int, seed: int) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=bits, dtype=torch.uint8)


def batch(**changes: object) -> Batch:
    values: dict = {
        "x": {"weak": images(6, 1)}, "y": torch.tensor([0, 1, 2, 3, 0, 1]), "x_index": torch.arange(6),
        "u": {"weak": images(12, 2), "strong": images(12, 3)}, "u_index": torch.arange(12),
        "u_true": torch.arange(12) % 4, "u_key": torch.arange(12), "draws": {}, "params": {},
    }  # fmt: skip
    return Batch(**(values | changes))


def batch_for(algorithm: Algorithm, seed: int = 0) -> Batch:
    """Exactly the streams, views and draws that the algorithm asked for; nothing else is there to be read."""
    views, full = algorithm.inputs, batch()
    labeled = {name: images(6, seed + k) for k, name in enumerate(views.labeled)}
    unlabeled = {name: images(12, seed + 50 + k) for k, name in enumerate(views.unlabeled)}
    bits = torch.Generator().manual_seed(seed)
    none = torch.empty(0, dtype=torch.int64)
    return Batch(
        x=labeled, y=full.y if labeled else none, x_index=full.x_index if labeled else none,
        u=unlabeled, u_index=full.u_index if unlabeled else none, u_true=full.u_true if unlabeled else none,
        u_key=torch.arange(12 if unlabeled else 0) + seed,
        params={name: {"bins": torch.randint(-1, 300, (6, 2, 2), generator=bits, dtype=torch.int32)} for name in views.params},
        draws={name: torch.rand(12, width, generator=bits) for name, width in views.draws.items()}
        | {name: torch.rand(6, width, generator=bits) for name, width in views.labeled_draws.items()},
        streams={name: samples(stream, seed) for name, stream in views.streams.items()},
    )  # fmt: skip


def samples(stream: OwnStream, seed: int) -> Samples:
    """What a step reads of an add-on's own stream."""
    bits, count = torch.Generator().manual_seed(seed), stream.size(6)
    views = {name: images(count, seed + 70 + k) for k, name in enumerate(stream.views)}
    draws = {name: torch.rand(count, width, generator=bits) for name, width in stream.draws.items()}
    return Samples(views, torch.arange(count) % CLASSES, torch.arange(count) % 8, draws)


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
