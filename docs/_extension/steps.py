"""What a step of every algorithm does, found by taking one: forwards, state, what is gathered over the ranks.

The settings are those of CIFAR-10 with 40 labels, as each paper has them; the images and the network are tiny, which
changes none of what is found here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

COLLECTIVES = ("gather", "gather_with_gradient", "mean")
"""Functions of `semisonic_kernels.collectives` by which a loss asks the other ranks for something."""
FIELDS = ("--data", "cifar10", "--data.labels", "40")
"""The run whose step is taken."""
CLASSES, POOL, LABELS = 10, 50_000, 40


@dataclass(frozen=True)
class Step:
    """What was seen of an algorithm."""

    labeled: int
    unlabeled: int
    """Images of a step."""
    views: Mapping[str, Mapping[str, str]]
    """Stream -> view -> augmentation."""
    forward: int
    """Images that go forward through a network of the method, each view counted."""
    backward: int
    """Those of them that a gradient comes back through."""
    state: Mapping[str, str]
    """The method's own buffers: name -> shape and type."""
    modules: tuple[str, ...]
    """The method's own modules with parameters, such as heads and further networks."""
    gathered: Mapping[str, str]
    """What `update` gets of all ranks -> the shape of all."""
    exchanged: tuple[str, ...]
    """What the loss itself asks the other ranks for."""


@cache
def observe(name: str) -> Step:
    """Takes one step of an algorithm by its name."""
    import torch

    from passes import record
    from semisonic.check.tiny import Runner
    from semisonic_kernels.fuse import use_kernels

    torch.manual_seed(0)
    sizes, algorithm = _built(name)
    views = algorithm.views(algorithm.cfg)
    sizes = sizes[0] if views.labeled else 0, sizes[1] if views.unlabeled else 0
    batch = _batch(views, *sizes)
    outputs: list[Any] = []
    run = Runner(algorithm)
    with use_kernels("reference"), _exchanges() as exchanged:
        passes = record(algorithm, lambda: outputs.append(run.step(batch)))
    images = [one for one in passes if one.images]
    return Step(
        labeled=sizes[0],
        unlabeled=sizes[1],
        views={"labeled": dict(views.labeled), "unlabeled": dict(views.unlabeled)},
        forward=sum(one.shape[0] for one in images),
        backward=sum(one.shape[0] for one in images if one.gradient != "none"),
        state=_state(algorithm),
        modules=_modules(algorithm),
        gathered={key: _shape(value) for key, value in outputs[0].observed.items()},
        exchanged=tuple(exchanged),
    )


def _built(name: str) -> tuple[tuple[int, int], Any]:
    """Labeled and unlabeled images of a step, and the algorithm on a tiny network."""
    from torch import nn

    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.check.tiny import SIZE, TinyNetwork
    from semisonic.config.command_line import parse_arguments, recipe_of
    from semisonic.config.run_config import BatchConfig
    from semisonic.contract import Info

    fields = recipe_of(parse_arguments([*FIELDS, "--algorithm", name])[0])[1]
    batch = BatchConfig(**fields.get("batch", {}))
    cfg = ALGORITHMS[name].Config.model_validate({"name": name, **fields.get("algorithm", {})})

    def network() -> nn.Module:
        made = TinyNetwork()
        made.head = nn.Linear(made.feature_dim, CLASSES)
        return made

    info = Info(
        classes=CLASSES, image_size=SIZE, labeled=LABELS, unlabeled=POOL, steps=fields["steps"],
        labeled_batch=batch.labeled, unlabeled_batch=batch.unlabeled, class_prior=(1 / CLASSES,) * CLASSES,
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2),
    )  # fmt: skip
    return (batch.labeled, batch.unlabeled), ALGORITHMS[name](cfg, network, info)


def _batch(views: Any, labeled: int, unlabeled: int) -> Any:
    """All that the views ask for, of random bits."""
    import torch

    from semisonic.check.tiny import SIZE
    from semisonic.contract import Batch

    bits = torch.Generator().manual_seed(0)

    def images(count: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, 3, SIZE, SIZE), generator=bits, dtype=torch.uint8)

    def integers(count: int, below: int) -> torch.Tensor:
        return torch.randint(0, below, (count,), generator=bits)

    drawn = {key: (unlabeled, width) for key, width in views.draws.items()}
    drawn |= {key: (labeled, width) for key, width in views.labeled_draws.items()}
    return Batch(
        x={key: images(labeled) for key in views.labeled}, y=integers(labeled, CLASSES),
        x_index=integers(labeled, LABELS), u={key: images(unlabeled) for key in views.unlabeled},
        u_index=integers(unlabeled, POOL), u_true=integers(unlabeled, CLASSES), u_key=integers(unlabeled, 2**62),
        draws={key: torch.rand(*shape, generator=bits) for key, shape in drawn.items()}, params={},
    )  # fmt: skip


@contextmanager
def _exchanges() -> Iterator[dict[str, None]]:
    """What a loss asks the other ranks for while this lasts: "mean of [10]"."""
    from semisonic_kernels import collectives

    found: dict[str, None] = {}
    originals = {name: getattr(collectives, name) for name in COLLECTIVES}

    def noted(name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(x: Any) -> Any:
            found[f"{'mean' if name == 'mean' else 'all'} of {_shape(x)}"] = None
            return function(x)

        return call

    try:
        for name, function in originals.items():
            setattr(collectives, name, noted(name, function))
        yield found
    finally:
        for name, function in originals.items():
            setattr(collectives, name, function)


def _state(algorithm: Any) -> dict[str, str]:
    """Buffers that the method itself registers, which are in every checkpoint. Layers of networks have theirs, too."""
    from semisonic.algorithms.base import Algorithm
    from semisonic.models.randomness import RandomLayer

    shared = {name for kind in Algorithm.__mro__ for name in getattr(kind, "__annotations__", {})}
    layers = [name for name, module in algorithm.named_modules() if isinstance(module, RandomLayer)]
    outside = [name for name, module in algorithm.named_modules() if hasattr(module, "feature_dim")] + layers
    return {
        name: _shape(value)
        for name, value in algorithm.named_buffers()
        if name not in shared and not any(name.startswith(f"{module}.") for module in outside)
    }


def _modules(algorithm: Any) -> tuple[str, ...]:
    own = {name: module for name, module in algorithm.named_children() if name not in ("network", "ema")}
    return tuple(name for name, module in own.items() if any(True for _ in module.parameters()))


def _shape(value: Any) -> str:
    sizes = ", ".join(f"{size:,}" for size in value.shape)
    return f"{str(value.dtype).removeprefix('torch.')} [{sizes}]"
