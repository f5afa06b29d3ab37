"""The batch of a step that a run has kept, as `semisonic replay` reads it: a file that may hold anything."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from semisonic.config.run_config import RunConfig
from semisonic.contract import Batch, Info
from semisonic.records.tensors import load_tensors
from semisonic.schema import UserError
from semisonic.text import name_of
from semisonic.training.replay import read_batch


class Place(NamedTuple):
    """What a tensor of a batch may be."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    low: int = 0
    below: int | None = None
    """Whole numbers lie from `low` on below this; None: any."""
    free: bool = False
    """Whether only its first axis is known: parameters of a view."""


def load_batch(path: Path, cfg: RunConfig, info: Info, world_size: int, step: int = 0) -> Batch:
    """The batch of one rank in the step after so many, which has the tensors that the run's algorithm reads.

    Raises `UserError`.
    """
    tensors = load_tensors(path)
    places, groups = dict(_places(cfg, info, world_size, step)), [f"params/{view}/" for view in cfg.views.params]
    for name in tensors:
        if (group := next((group for group in groups if name.startswith(group)), None)) and name.count("/") == 2:
            stream = "x" if group.split("/")[1] in cfg.views.labeled else "u"
            places[name] = Place(places[f"{stream}_index"].shape, tensors[name].dtype, free=True)
    if problems := _problems(tensors, places):
        raise UserError(f"{path}: is no batch of this run: {problem}" for problem in problems[:5])
    return read_batch(tensors)


def _places(cfg: RunConfig, info: Info, world_size: int, step: int) -> Iterator[tuple[str, Place]]:
    """Every tensor of a rank's batch, by its name in the file, without the parameters of views."""
    views, side, whole = cfg.views, info.image_size, torch.int64
    b = cfg.batch.labeled // world_size if views.labeled else 0
    u = cfg.unlabeled_sizes.of(step) // world_size if views.unlabeled else 0
    for name in views.labeled:
        yield f"x/{name}", Place((b, 3, side, side), torch.uint8)
    for name in views.unlabeled:
        yield f"u/{name}", Place((u, 3, side, side), torch.uint8)
    yield "y", Place((b,), whole, 0, info.classes)
    yield "x_index", Place((b,), whole, 0, info.labeled)
    yield "u_index", Place((u,), whole, 0, info.unlabeled)
    yield "u_true", Place((u,), whole, -1, info.classes)
    yield "u_key", Place((u,), whole)
    for rows, draws in ((u, views.draws), (b, views.labeled_draws)):
        for name, width in draws.items():
            yield f"draws/{name}", Place((rows, width), torch.float32)
    for name, stream in views.streams.items():
        n, pool = stream.size(cfg.batch.labeled) // world_size, stream.pool == "unlabeled"
        for view in stream.views:
            yield f"streams/{name}/views/{view}", Place((n, 3, side, side), torch.uint8)
        yield f"streams/{name}/y", Place((n,), whole, -1 if pool else 0, info.classes)
        yield f"streams/{name}/position", Place((n,), whole, 0, info.unlabeled if pool else info.labeled)
        for draw, width in stream.draws.items():
            yield f"streams/{name}/draws/{draw}", Place((n, width), torch.float32)


def _problems(tensors: Mapping[str, Tensor], places: Mapping[str, Place]) -> list[str]:
    missing = [f"{name} is missing" for name in places if name not in tensors]
    others = [f"{name_of(name)} is none of its tensors" for name in tensors if name not in places]
    return (
        missing
        + others
        + [
            f"{name_of(name)}: {problem}"
            for name, tensor in tensors.items()
            if name in places and (problem := _problem(tensor, places[name]))
        ]
    )


def _problem(tensor: Tensor, place: Place) -> str | None:
    shape = tuple(tensor.shape[: len(place.shape)] if place.free else tensor.shape)
    if (tensor.dtype, shape) != (place.dtype, place.shape):
        return f"{tensor.dtype} {list(tensor.shape)}, where {place.dtype} {list(place.shape)} is needed"
    if place.below is not None and tensor.numel():
        low, high = int(tensor.min()), int(tensor.max())
        if low < place.low or high >= place.below:
            return f"{low} to {high}, where {place.low} to {place.below - 1} is needed"
    return None
