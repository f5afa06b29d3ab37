"""Pictures of what kernels do to a batch inside the step: MixUp, CutMix, rotations and EnAET's transformations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semisonic.config.run_config import RunConfig
from semisonic.data.loading import draws
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.own_pictures import signed
from semisonic.reporting.view_grids import grid, plain_images
from semisonic_kernels import transformations
from semisonic_kernels.boxes import boxes_around, mean_filled
from semisonic_kernels.cutmix import cutmix, cutmix_boxes
from semisonic_kernels.enhance import enhance
from semisonic_kernels.fuse import use_kernels
from semisonic_kernels.mixup import mixup
from semisonic_kernels.rotate import rotate
from semisonic_kernels.warp import warp

UNIFORMS = 12
"""Random numbers of each cell of a picture: enough for every kernel."""
Change = Callable[[Tensor, Tensor], Tensor]
"""Images uint8 [N, 3, H, W] and uniforms [N, UNIFORMS] -> changed images."""


def _partner(images: Tensor) -> Tensor:
    """Every image's is the next one."""
    return torch.arange(len(images), device=images.device).roll(-1)


def _mixup(images: Tensor, uniforms: Tensor) -> Tensor:
    return mixup(images, uniforms, _partner(images), uniforms[:, 0])[0].round().to(torch.uint8)


def _cutmix(images: Tensor, uniforms: Tensor) -> Tensor:
    boxes = cutmix_boxes(uniforms[:, 0], uniforms[:, 1:3], *images.shape[2:])
    return cutmix(images, uniforms, _partner(images), boxes)[0]


def _rotated(images: Tensor, uniforms: Tensor) -> Tensor:
    return rotate(images, (4 * uniforms[:, 0]).long())


def _warped(images: Tensor, matrices: Tensor) -> Tensor:
    return warp(images, matrices, torch.full((3,), 128.0, device=images.device))


def _projective(images: Tensor, uniforms: Tensor) -> Tensor:
    return _warped(images, transformations.projective(uniforms[:, :10], images.shape[-1], 0.125, 0.2, True)[0])


def _of_family(number: int) -> Change:
    def change(images: Tensor, uniforms: Tensor) -> Tensor:
        family = transformations.affine_family(uniforms[:, :5], images.shape[-1], 180, 0.2, 0.2, 30)
        return _warped(images, family[number][0])

    return change


def _enhanced(images: Tensor, uniforms: Tensor) -> Tensor:
    return enhance(images, transformations.enhancement(uniforms[:, :4], 0.8))


def _patch(images: Tensor, uniforms: Tensor) -> Tensor:
    side = images.shape[-1] // 4
    return mean_filled(images, boxes_around(uniforms[:, :2], side, side, *images.shape[2:]))


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
    original = plain_images(cfg, data, images)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, change in CHANGES.items():
        cells = [original]
        for column in range(columns):
            numbers = column * len(original) + np.arange(len(original))
            uniforms = draws.uniforms(cfg.seed, draws.purpose("batch-gallery"), numbers, UNIFORMS).astype(np.float32)
            with use_kernels("reference"):  # no compiler for a few pictures
                cells.append(change(original, torch.from_numpy(uniforms).to(original.device)))
        files.append(folder / f"batch-{name}.png")
        grid(cells).save(files[-1], pnginfo=signed())
    return files
