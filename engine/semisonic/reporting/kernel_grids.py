"""Pictures of what kernels do to a batch inside the step: MixUp, CutMix, rotations and EnAET's transformations."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisonic.config.run_config import RunConfig
from semisonic.data.loading import draws
from semisonic.data.sets.base import DataSet
from semisonic.reporting.captioned import Block
from semisonic.reporting.view_grids import ORIGINAL, cells_of, original_captions, plain_images, save, shown_rows
from semisonic_kernels import transformations
from semisonic_kernels.boxes import boxes_around, mean_filled
from semisonic_kernels.cutmix import cutmix, cutmix_boxes
from semisonic_kernels.enhance import enhance
from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.mixup import mixup
from semisonic_kernels.rotate import rotate
from semisonic_kernels.warp import warp

SHIFT, SCALE, SHEAR = 0.125, 0.2, 30
"""Of EnAET's transformations: shares of the width and of the size, and degrees, at most."""
UNIFORMS = 12
"""Random numbers of each cell of a picture: enough for every kernel."""
Changed = tuple[Tensor, list[list[str]]]
"""Images uint8 [N, 3, H, W], and what was done to each, a line each."""
Change = Callable[[Tensor, Tensor], Changed]
"""Images uint8 [N, 3, H, W] and uniforms [N, UNIFORMS] -> changed images with captions, from the same numbers."""


def _partner(images: Tensor) -> Tensor:
    """Every image's is the next one."""
    return torch.arange(len(images), device=images.device).roll(-1)


def _mixup(images: Tensor, uniforms: Tensor) -> Changed:
    lam = uniforms[:, 0]
    mixed = mixup(images, uniforms, _partner(images), lam)[0].round().to(torch.uint8)
    return mixed, [[f"{own:.0%} of it", f"{1 - own:.0%} of the next"] for own in lam.tolist()]


def _cutmix(images: Tensor, uniforms: Tensor) -> Changed:
    boxes = cutmix_boxes(uniforms[:, 0], uniforms[:, 1:3], *images.shape[2:])
    return cutmix(images, uniforms, _partner(images), boxes)[0], [
        [f"{right - left} x {bottom - top} px", "of the next"] for top, left, bottom, right in boxes.tolist()
    ]


def _rotated(images: Tensor, uniforms: Tensor) -> Changed:
    turns = (4 * uniforms[:, 0]).long()
    return rotate(images, turns), [[f"{90 * turn}°"] for turn in turns.tolist()]


def _warped(images: Tensor, matrices: Tensor) -> Tensor:
    return warp(images, matrices, torch.full((3,), 128.0, device=images.device))


def _projective(images: Tensor, uniforms: Tensor) -> Changed:
    matrices, _ = transformations.projective(uniforms[:, :10], images.shape[-1], SHIFT, SCALE, True)
    captions = [
        [f"{90 * int(4 * turned)}°", f"size × {1 + SCALE * (2 * scaled - 1):.2f}", "corners moved"]
        for scaled, turned in uniforms[:, 8:10].tolist()
    ]
    return _warped(images, matrices), captions


def _of_family(number: int) -> Change:
    def change(images: Tensor, uniforms: Tensor) -> Changed:
        family = transformations.affine_family(uniforms[:, :5], images.shape[-1], 180, SCALE, SCALE, SHEAR)
        matrices, parameters = family[number]
        return _warped(images, matrices), [_affine(*found) for found in parameters.tolist()]

    return change


def _affine(
    cosine: float, sine: float, right: float, down: float, size: float | None = None, shear: float | None = None
) -> list[str]:
    """The parameters of a transformation of the affine family."""
    found = [f"{math.degrees(math.atan2(sine, cosine)):+.0f}°", f"moved {SCALE * right:+.0%}, {SCALE * down:+.0%}"]
    found += [] if size is None else [f"size × {1 + SCALE * size:.2f}"]
    return found + ([] if shear is None else [f"shear {SHEAR * shear:+.0f}°"])


def _enhanced(images: Tensor, uniforms: Tensor) -> Changed:
    factors = transformations.enhancement(uniforms[:, :4], 0.8)
    names = ("color", "contrast", "brightness", "sharpness")
    captions = [[f"{name} × {factor:.2f}" for name, factor in zip(names, own, strict=True)] for own in factors.tolist()]
    return enhance(images, factors), captions


def _patch(images: Tensor, uniforms: Tensor) -> Changed:
    side = images.shape[-1] // 4
    boxes = boxes_around(uniforms[:, :2], side, side, *images.shape[2:])
    return mean_filled(images, boxes), [
        [f"{right - left} x {bottom - top} px"] for top, left, bottom, right in boxes.tolist()
    ]


CHANGES: dict[str, Change] = {
    "mixup": _mixup,
    "cutmix": _cutmix,
    "rotations": _rotated,
    "enaet-projective": _projective,
    "enaet-affine": _of_family(0),
    "enaet-similarity": _of_family(1),
    "enaet-euclidean": _of_family(2),
    "enaet-enhancement": _enhanced,
    "enaet-patch": _patch,
}
"""Name of the picture -> what it shows, at the published ranges; mixing weights are uniform, Beta(1, 1)."""


def save_changes(cfg: RunConfig, data: DataSet, folder: Path, images: int = 8, columns: int = 9) -> list[Path]:
    """Writes batch-NAME.png for each of `CHANGES`, `images` rows and 1 + `columns` columns; returns the files.

    The three of EnAET's affine family share their draws, so that the pictures can be compared cell by cell.
    """
    rows_N = shown_rows(data, images)
    original = plain_images(cfg, data, rows_N)
    heads = [ORIGINAL, *(f"draw {column + 1}" for column in range(columns))]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, change in CHANGES.items():
        cells = [cells_of(original, original_captions(data, rows_N))]
        for column in range(columns):
            numbers = column * len(original) + np.arange(len(original))
            uniforms = draws.uniforms(cfg.seed, draws.purpose("batch-gallery"), numbers, UNIFORMS).astype(np.float32)
            with use_kernels("reference"):  # no compiler for a few pictures
                cells.append(cells_of(*change(original, torch.from_numpy(uniforms).to(original.device))))
        files.append(folder / f"batch-{name}.png")
        note = "What it does to a batch, at the published ranges; the next image is that of the row below."
        save([Block(f"{name} of a batch of {data.name}", note, heads, list(zip(*cells, strict=True)))], files[-1])
    return files
