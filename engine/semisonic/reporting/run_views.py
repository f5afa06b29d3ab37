"""A contact sheet of what a run trains on: the first images of each stream, in each view, as the run draws them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.loading.stream import StreamBatch
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.splits import Split
from semisonic.reporting.captioned import Block, Cell
from semisonic.reporting.view_grids import ORIGINAL, cells_of, lines, original_captions, plain_images, save

FILE = "views.png"
"""The sheet, in a run's folder or among the pictures of views."""
SEEN = {"labeled": "The run knows their labels.", "unlabeled": "The run does not see the labels below the originals."}
"""What a stream's images are to the run."""


def save_run_views(cfg: RunConfig, data: DataSet, split: Split, file: Path, images: int = 8) -> None:
    """Writes the sheet: of each stream the first `images` samples of the first step, and what was drawn for them.

    They are the run's own: a sample's image and its draws depend on its number alone, not on the batch's size.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    save([block(cfg, data, *stream) for stream in streams_of(cfg, data, split, images)], file)


Streamed = tuple[str, dict[str, str], np.ndarray, StreamBatch, dict[str, list[list[str]]]]
"""A stream's name, its views' specs, rows of its images among the training images int64 [N], the views themselves, and
captions by view."""


def streams_of(cfg: RunConfig, data: DataSet, split: Split, images: int) -> Sequence[Streamed]:
    """Every stream that the run reads. Of a step with fewer samples than `images`, these."""
    labeled, unlabeled = min(images, cfg.batch.labeled), min(images, cfg.batch.unlabeled)
    sampling = Sampling(cfg.seed, labeled, unlabeled, balanced=cfg.batch.balanced, steps=cfg.steps)
    placement = Placement(torch.device(cfg.torch_device), operations=cfg.loading.operations, equalize=cfg.data.equalize)
    found = []
    with Loader(data, split, cfg.views, sampling, placement) as loader:
        for name, plan in loader.plans.items():
            stream = loader.streams[name]
            rows_N = stream.source.rows(stream.sampler.indices(0))[:images]
            captions = {view: list(map(lines, done)) for view, done in stream.applied(0).items()}
            found.append((name, dict(plan.views), rows_N, stream.take(), captions))
    return found


def block(
    cfg: RunConfig, data: DataSet, name: str, specs: dict[str, str], rows_N: np.ndarray, batch: StreamBatch,
    captions: dict[str, list[list[str]]],
) -> Block:  # fmt: skip
    """One stream: a column an image, below each other the original and its views."""
    count = len(rows_N)
    rows: list[list[Cell]] = [cells_of(plain_images(cfg, data, rows_N), original_captions(data, rows_N))]
    rows += [cells_of(batch.views[view][:count], captions[view][:count]) for view in specs]
    names = [ORIGINAL, *(view if view == spec else f"{view}: {spec}" for view, spec in specs.items())]
    title = f"{name.capitalize()} images of {data.name}, as {cfg.algorithm.name} reads them first, seed {cfg.seed}"
    heads = [f"sample {number + 1}" for number in range(count)]
    return Block(title, SEEN.get(name, "A stream of an add-on."), heads, rows, names)
