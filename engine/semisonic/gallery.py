"""Pictures of augmented views: one grid a view, a row per image, the image itself in the first column."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semisonic.config import RunConfig
from semisonic.data.base import DataSet
from semisonic.data.pipeline import Stream, geometry_of

PIXELS = 64
"""Images smaller than this are enlarged without smoothing."""


def save_views(
    cfg: RunConfig, data: DataSet, recipes: Sequence[str], folder: Path, images: int = 8, draws: int = 9
) -> list[Path]:
    """Writes a grid of `images` rows and 1 + `draws` columns for each recipe; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    original = plain_images(cfg, data, images)
    files = []
    for recipe in recipes:
        views = _views_of(cfg, data, recipe, images)
        columns = [original, *(next(views)["view"] for _ in range(draws))]
        file = folder / f"{recipe.replace('(', '-').replace(')', '').replace(',', '-')}.png"
        grid(columns).save(file)
        files.append(file)
    return files


def plain_images(cfg: RunConfig, data: DataSet, images: int) -> Tensor:
    """Training images from all over the data set, uint8 [N, 3, H, W]."""
    return next(_views_of(cfg, data, "plain", images))["view"]


def _views_of(cfg: RunConfig, data: DataSet, recipe: str, images: int) -> Stream:
    count, device = len(data.train), torch.device(cfg.torch_device)
    rows = np.arange(count)[:: max(1, count // images)][:images]
    return Stream(
        "views", data.train, {"view": recipe}, geometry_of(data, device), lambda step: rows,
        lambda step: step * len(rows) + np.arange(len(rows)), cfg.seed, data.std, equalize=cfg.data.equalize,
        device=device, operations=cfg.loading.operations,
    )  # fmt: skip


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
