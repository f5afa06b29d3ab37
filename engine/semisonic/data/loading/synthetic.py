"""A batch with the shapes of a real one, made without reading an image."""

import numpy as np
import torch
from torch import Tensor

from semisonic.contract import Batch, OwnStream, Samples, Views
from semisonic.data.loading.image_source import geometry_of
from semisonic.data.sets.base import DataConfig, DataSet, ImageFiles
from semisonic.data.sets.splits import Split
from semisonic.data.views.registry import build_view


def synthetic_batch(
    data: DataSet, split: Split, views: Views, cfg: DataConfig, labeled: int, unlabeled: int, device: torch.device
) -> Batch:
    """All streams, views, draws and parameters that `views` asks for, with `labeled` and `unlabeled` samples.

    Pixels, labels, indices and draws are random, the same each time; torch's generators are not touched.
    """
    bits = torch.Generator().manual_seed(0)
    sizes = {
        "labeled": labeled if views.labeled else 0,
        "unlabeled": unlabeled if views.unlabeled else 0,
    }

    def integers(count: int, below: int) -> Tensor:
        return torch.randint(0, max(1, below), (count,), generator=bits).to(device)

    def images(count: int) -> Tensor:
        pixels = torch.randint(0, 256, (count, 3, data.size, data.size), generator=bits, dtype=torch.uint8)
        return pixels.to(device, memory_format=torch.channels_last)

    def draw(count: int, width: int) -> Tensor:
        return torch.rand(count, width, generator=bits).to(device)

    def samples(stream: OwnStream) -> Samples:
        count = stream.size(labeled)
        below = len(split.labeled) if stream.pool == "labeled" else len(split.unlabeled)
        draws = {name: draw(count, width) for name, width in stream.draws.items()}
        pictures = {name: images(count) for name in stream.views}
        return Samples(pictures, integers(count, len(data.classes)), integers(count, below), draws)

    streams = {"labeled": views.labeled, "unlabeled": views.unlabeled}
    return Batch(
        x={name: images(sizes["labeled"]) for name in views.labeled},
        y=integers(sizes["labeled"], len(data.classes)),
        x_index=integers(sizes["labeled"], len(split.labeled)),
        u={name: images(sizes["unlabeled"]) for name in views.unlabeled},
        u_index=integers(sizes["unlabeled"], len(split.unlabeled)),
        u_true=integers(sizes["unlabeled"], len(data.classes)),
        u_key=integers(sizes["unlabeled"], 2**62),
        draws={name: draw(sizes["unlabeled"], width) for name, width in views.draws.items()}
        | {name: draw(sizes["labeled"], width) for name, width in views.labeled_draws.items()},
        params={
            name: _params(data, cfg, spec, sizes[stream], device)
            for stream, wanted in streams.items()
            for name, spec in wanted.items()
            if name in views.params
        },
        streams={name: samples(stream) for name, stream in views.streams.items()},
    )


def _params(data: DataSet, cfg: DataConfig, spec: str, count: int, device: torch.device) -> dict[str, Tensor]:
    """The parameters of a view, each [count, ...], as drawn from the middle of every range."""
    view = build_view(spec, geometry_of(data, device), cfg.equalize, cfg.operations)
    shapes_N2 = data.train.shapes[:1].repeat(count, axis=0) if isinstance(data.train, ImageFiles) else None
    arrays = view.params(np.full((count, view.uniforms), 0.5), shapes_N2)
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
