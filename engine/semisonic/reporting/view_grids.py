"""Pictures of augmented views: one grid a view, a row per image, the image itself in the first column, and below each
image what was drawn for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.stream import Stream
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.own_pictures import signed
from semisonic.data.views.applied import Applied
from semisonic.data.views.registry import VIEWS
from semisonic.reporting.captioned import Block, Cell, picture

ORIGINAL = "original"
"""Head of the first column."""


def save_views(
    cfg: RunConfig, data: DataSet, specs: Sequence[str], folder: Path, images: int = 8, draws: int = 9
) -> list[Path]:
    """Writes a grid of `images` rows and 1 + `draws` columns for each spec; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows_N = shown_rows(data, images)
    originals = cells_of(plain_images(cfg, data, rows_N), original_captions(data, rows_N))
    files = []
    for spec in specs:
        columns = [originals]
        with _views_of(cfg, data, spec, rows_N) as views:
            for draw in range(draws):
                columns.append(cells_of(next(views)["view"], map(lines, views.applied(draw)["view"])))
        files.append(folder / f"{spec.replace('(', '-').replace(')', '').replace(',', '-')}.png")
        kind = VIEWS.get(spec.partition("(")[0].strip())
        title, heads = f"View {spec} of {data.name}", [ORIGINAL, *(f"draw {draw + 1}" for draw in range(draws))]
        save([Block(title, kind.summary if kind else "", heads, list(zip(*columns, strict=True)))], files[-1])
    return files


def save(blocks: Sequence[Block], file: Path) -> None:
    picture(blocks).save(file, pnginfo=signed())


def cells_of(images: Tensor, captions: object) -> list[Cell]:
    """images: uint8 [N, 3, H, W]; captions: N of them."""
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    return [Cell(*pair) for pair in zip(pixels, captions, strict=True)]  # type: ignore[call-overload]


def lines(done: Sequence[Applied]) -> list[str]:
    """What was done to an image, a line each."""
    return [one.text for one in done] or ["as it is"]


def original_captions(data: DataSet, rows_N: np.ndarray) -> list[list[str]]:
    """Numbers of training images and their true labels, as far as these are known."""
    labels = data.train.labels[rows_N].tolist()
    return [
        [f"image {row:,}", f"label {data.classes[label]}" if label >= 0 else "no label known"]
        for row, label in zip(rows_N.tolist(), labels, strict=True)
    ]


def shown_rows(data: DataSet, images: int) -> np.ndarray:
    """Some training images from all over the data set, int64 [N]."""
    count = len(data.train)
    return np.arange(count)[:: max(1, count // images)][:images]


def plain_images(cfg: RunConfig, data: DataSet, rows_N: np.ndarray) -> Tensor:
    """These training images as they are, uint8 [N, 3, H, W]."""
    with _views_of(cfg, data, "plain", rows_N) as views:
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


def _views_of(cfg: RunConfig, data: DataSet, spec: str, rows_N: np.ndarray) -> Stream:
    device = torch.device(cfg.torch_device)
    source = source_of(data, device, rows_N)
    placement = Placement(device, operations=cfg.loading.operations, equalize=cfg.data.equalize)
    return Stream(Draws(cfg.seed, "views"), source, {"view": spec}, SameImages(len(source)), placement)
