"""A batch with the shapes of a real one, made without reading an image."""

import numpy as np
import torch
from torch import Tensor

from semisonic.contract import Batch, Views
from semisonic.data.augment import build_view
from semisonic.data.base import DataConfig, DataSet, ImageFiles
from semisonic.data.image_source import geometry_of
from semisonic.data.splits import Split


def synthetic_batch(
    data: DataSet, split: Split, views: Views, cfg: DataConfig, labelled: int, unlabelled: int, device: torch.device
) -> Batch:
    """All streams, views, draws and parameters that `views` asks for, with `labelled` and `unlabelled` samples.

    Pixels, labels, indices and draws are random, the same each time; torch's generators are not touched.
    """
    bits = torch.Generator().manual_seed(0)
    sizes = {
        "labelled": labelled if views.labelled else 0,
        "unlabelled": unlabelled if views.unlabelled else 0,
    }

    def integers(count: int, below: int) -> Tensor:
        return torch.randint(0, max(1, below), (count,), generator=bits).to(device)

    def images(count: int) -> Tensor:
        pixels = torch.randint(0, 256, (count, 3, data.size, data.size), generator=bits, dtype=torch.uint8)
        return pixels.to(device, memory_format=torch.channels_last)

    def draw(count: int, width: int) -> Tensor:
        return torch.rand(count, width, generator=bits).to(device)

    streams = {"labelled": views.labelled, "unlabelled": views.unlabelled}
    return Batch(
        x={name: images(sizes["labelled"]) for name in views.labelled},
        y=integers(sizes["labelled"], len(data.classes)),
        x_index=integers(sizes["labelled"], len(split.labelled)),
        u={name: images(sizes["unlabelled"]) for name in views.unlabelled},
        u_index=integers(sizes["unlabelled"], len(split.unlabelled)),
        u_true=integers(sizes["unlabelled"], len(data.classes)),
        u_key=integers(sizes["unlabelled"], 2**62),
        draws={name: draw(sizes["unlabelled"], width) for name, width in views.draws.items()}
        | {name: draw(sizes["labelled"], width) for name, width in views.labelled_draws.items()},
        params={
            name: _params(data, cfg, spec, sizes[stream], device)
            for stream, wanted in streams.items()
            for name, spec in wanted.items()
            if name in views.params
        },
    )


def _params(data: DataSet, cfg: DataConfig, spec: str, count: int, device: torch.device) -> dict[str, Tensor]:
    """The parameters of a view, each [count, ...], as drawn from the middle of every range."""
    view = build_view(spec, geometry_of(data, device), cfg.equalize, cfg.operations)
    shapes_N2 = data.train.shapes[:1].repeat(count, axis=0) if isinstance(data.train, ImageFiles) else None
    arrays = view.params(np.full((count, view.uniforms), 0.5), shapes_N2)
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
