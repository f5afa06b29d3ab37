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
    count = len(data.train)
    rows = np.arange(count)[:: max(1, count // images)][:images]
    device = torch.device(cfg.torch_device)
    geometry = geometry_of(data, device)
    folder.mkdir(parents=True, exist_ok=True)

    def stream(recipe: str) -> Stream:
        return Stream(
            "views", data.train, {"view": recipe}, geometry, lambda step: rows,
            lambda step: step * len(rows) + np.arange(len(rows)), cfg.seed, data.std, equalize=cfg.data.equalize,
            device=device, operations=cfg.loading.operations,
        )  # fmt: skip

    original = next(stream("plain"))["view"]
    files = []
    for recipe in recipes:
        views = stream(recipe)
        columns = [original, *(next(views)["view"] for _ in range(draws))]
        file = folder / f"{recipe.replace('(', '-').replace(')', '').replace(',', '-')}.png"
        grid(columns).save(file)
        files.append(file)
    return files


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
