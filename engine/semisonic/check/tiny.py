"""What a check of seconds is done with: a tiny network, its images of random bits, and one step in this process.

Shape suffixes: C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from semisonic import contract
from semisonic.algorithms.base import Algorithm
from semisonic.contract import Batch, Info, OwnStream, Samples, StepOutput, Views
from semisonic.data.views.registry import build_view
from semisonic.data.views.view import Geometry
from semisonic.models.ema import EmaConfig
from semisonic.models.norm import BatchNorm2d

CLASSES, SIZE = 4, 6
LABELED, UNLABELED = 6, 12
"""Images of a batch."""


def info(**changes: object) -> Info:
    values: dict[str, Any] = {
        "classes": CLASSES, "image_size": SIZE, "labeled": 8, "unlabeled": 40, "steps": 100, "labeled_batch": LABELED,
        "unlabeled_batch": UNLABELED, "class_prior": (0.25,) * 4, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25),
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


def images(count: int, seed: int) -> Tensor:
    bits = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=bits, dtype=torch.uint8)


def batch(**changes: object) -> Batch:
    values: dict[str, Any] = {
        "x": {"weak": images(LABELED, 1)}, "y": torch.tensor([0, 1, 2, 3, 0, 1]), "x_index": torch.arange(LABELED),
        "u": {"weak": images(UNLABELED, 2), "strong": images(UNLABELED, 3)}, "u_index": torch.arange(UNLABELED),
        "u_true": torch.arange(UNLABELED) % 4, "u_key": torch.arange(UNLABELED), "draws": {}, "params": {},
    }  # fmt: skip
    return Batch(**(values | changes))


def batch_for(algorithm: Algorithm, seed: int = 0, size_x: int = LABELED, size_u: int = UNLABELED) -> Batch:
    """Exactly the streams, views and draws that the algorithm asked for; nothing else is there to be read.

    size_x, size_u: labeled and unlabeled images, where there are any.
    """
    views = algorithm.inputs
    labeled = {name: images(size_x, seed + k) for k, name in enumerate(views.labeled)}
    unlabeled = {name: images(size_u, seed + 50 + k) for k, name in enumerate(views.unlabeled)}
    bits = torch.Generator().manual_seed(seed)
    row_B, row_U = torch.arange(size_x if labeled else 0), torch.arange(size_u if unlabeled else 0)
    return Batch(
        x=labeled, y=row_B % CLASSES, x_index=row_B, u=unlabeled, u_index=row_U, u_true=row_U % CLASSES,
        u_key=row_U + seed, params=params_for(views, seed, size_x, size_u),
        draws={name: torch.rand(size_u, width, generator=bits) for name, width in views.draws.items()}
        | {name: torch.rand(size_x, width, generator=bits) for name, width in views.labeled_draws.items()},
        streams={name: samples(stream, seed, size_x) for name, stream in views.streams.items()},
    )  # fmt: skip


def samples(stream: OwnStream, seed: int, size_x: int = LABELED) -> Samples:
    """What a step of so many labeled images reads of an add-on's own stream."""
    bits, count = torch.Generator().manual_seed(seed), stream.size(size_x)
    views = {name: images(count, seed + 70 + k) for k, name in enumerate(stream.views)}
    draws = {name: torch.rand(count, width, generator=bits) for name, width in stream.draws.items()}
    return Samples(views, torch.arange(count) % CLASSES, torch.arange(count) % 8, draws)


def params_for(views: Views, seed: int, size_x: int = LABELED, size_u: int = UNLABELED) -> dict[str, dict[str, Tensor]]:
    """Augmentation parameters of the views whose parameters a loss reads, drawn at random."""
    geometry, bits = Geometry(size=SIZE, pad=1, flip=False, fill=(0, 0, 0)), np.random.default_rng(seed)
    params = {}
    for name in views.params:
        spec, count = (views.labeled[name], size_x) if name in views.labeled else (views.unlabeled[name], size_u)
        view = build_view(spec, geometry, operations="kernel")
        drawn = view.params(bits.random((count, view.uniforms)), None)
        params[name] = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in drawn.items()}
    return params


def configured(kind: type[Algorithm], given: Mapping[str, object], **wanted: object) -> Any:
    """An algorithm's configuration as given, with those of the wanted fields that it has, that are not given, and that
    may have the wanted value."""
    fields = dict(given)
    cfg = kind.Config.model_validate(fields)
    for name, value in wanted.items():
        if name in kind.Config.model_fields and name not in given:
            try:
                cfg = kind.Config.model_validate({**fields, name: value})
            except ValidationError:
                continue
            fields[name] = value
    return cfg


@dataclass(frozen=True)
class Subject:
    """The algorithm that is checked."""

    kind: type[Algorithm]
    fields: Mapping[str, object] = field(default_factory=dict)
    """What was given of its configuration; all else is at its default, or as a check wants it."""

    def make(self, autocast: torch.dtype | None = None, ema: EmaConfig | None = None, **wanted: object) -> Algorithm:
        """A fresh one on a tiny network, the same each time. wanted: fields to be set, where it has them."""
        torch.manual_seed(0)
        cfg = configured(self.kind, self.fields, **({"block": 2} | wanted))  # blocks must divide the 6 labeled images
        return self.kind(cfg, tiny_network, info(), ema, autocast)


class Engine(contract.BareEngine):
    """One role's module with plain SGD. `gradients` collects those of a step, by parameter name."""

    def __init__(self, module: nn.Module, lr: float, names: dict[Tensor, str], gradients: dict[str, Tensor]):
        super().__init__(module)
        self.optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=0.9)
        self.names, self.gradients = names, gradients

    def step(self) -> None:
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                self.gradients[self.names[parameter]] = parameter.grad.clone()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Runner(contract.Runner):
    """What a step is taken with, and the step around it."""

    def __init__(self, algorithm: Algorithm, lr: float = 0.05, micro: int = 1):
        self.algorithm = algorithm
        self.gradients: dict[str, Tensor] = {}
        """Of the last step, by parameter name."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in algorithm.named_parameters()}
        modules = {role: algorithm.role_module(role) for role in algorithm.roles}
        engines = {role: Engine(module, lr, names, self.gradients) for role, module in modules.items()}
        super().__init__(engines, micro)
        self.optimizers = {role: engine.optimizer for role, engine in engines.items()}

    def step(self, batch: Batch, train: bool = True) -> StepOutput:
        """All that the trainer does for one batch. `train=False` leaves BatchNorm as it is."""
        if train:
            self.algorithm.train()
        self.gradients.clear()
        torch.manual_seed(int(self.algorithm.step))  # for layers of users that draw
        return self.on_device(batch)

    def on_device(self, batch: Batch) -> StepOutput:
        """What of a step runs on the device."""
        output = self.algorithm.train_step(batch, self)
        with torch.no_grad():
            self.algorithm.commit(output.observed)
            self.algorithm.update_ema()
        self.algorithm.step += 1
        return output

    def set_rate(self, rate: float) -> None:
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def state(self) -> dict[str, Any]:
        return {"algorithm": self.algorithm.state_dict()} | {r: o.state_dict() for r, o in self.optimizers.items()}

    def load(self, state: dict[str, Any]) -> None:
        self.algorithm.load_state_dict(state["algorithm"])
        for role, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[role])
