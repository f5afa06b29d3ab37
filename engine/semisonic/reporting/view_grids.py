"""Pictures of augmented views: one grid a view, a row per image, the image itself in the first column."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.stream import Stream
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.own_pictures import signed

PIXELS = 64
"""Images smaller than this are enlarged without smoothing."""


def save_views(
    cfg: RunConfig, data: DataSet, specs: Sequence[str], folder: Path, images: int = 8, draws: int = 9
) -> list[Path]:
    """Writes a grid of `images` rows and 1 + `draws` columns for each spec; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    original = plain_images(cfg, data, images)
    files = []
    for spec in specs:
        with _views_of(cfg, data, spec, images) as views:
            columns = [original, *(next(views)["view"] for _ in range(draws))]
        file = folder / f"{spec.replace('(', '-').replace(')', '').replace(',', '-')}.png"
        grid(columns).save(file, pnginfo=signed())
        files.append(file)
    return files


def plain_images(cfg: RunConfig, data: DataSet, images: int) -> Tensor:
    """Training images from all over the data set, uint8 [N, 3, H, W]."""
    with _views_of(cfg, data, "plain", images) as views:
        return next(views)["view"]


@dataclass(frozen=True)
class SameImages:
    """A sampler of the same images at every step, drawn anew."""

    share: int

    def shares(self, step: int, count: int) -> list[int]:
        return [self.share] * count

    def numbers(self, step: int, count: int = 1) -> np.ndarray:
        return np.arange(step * self.share, (step + count) * self.share)

    def indices(self, step: int, count: int = 1) -> np.ndarray:
        return self.numbers(step, count) % self.share


def _views_of(cfg: RunConfig, data: DataSet, spec: str, images: int) -> Stream:
    count, device = len(data.train), torch.device(cfg.torch_device)
    source = source_of(data, device, np.arange(count)[:: max(1, count // images)][:images])
    placement = Placement(device, operations=cfg.loading.operations, equalize=cfg.data.equalize)
    return Stream(Draws(cfg.seed, "views"), source, {"view": spec}, SameImages(len(source)), placement)


def grid(columns: Sequence[Tensor], gap: int = 2) -> Image.Image:
    """Columns of uint8 images, each [N, 3, H, W], side by side on white; the first is set apart."""
    scale = max(1, PIXELS // columns[0].shape[-1])
    cells = [column.permute(0, 2, 3, 1).cpu().numpy().repeat(scale, 1).repeat(scale, 2) for column in columns]
    count, height, width, _ = cells[0].shape
    canvas = np.full((count * (height + gap) - gap, len(cells) * (width + gap) + 2 * gap, 3), 255, dtype=np.uint8)
    for column, images in enumerate(cells):
        left = column * (width + gap) + (3 * gap if column else 0)
        for row, image in enumerate(images):
            canvas[row * (height + gap) : row * (height + gap) + height, left : left + width] = image
    return Image.fromarray(canvas)
