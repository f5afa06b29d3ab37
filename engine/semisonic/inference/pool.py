"""Predictions for the unlabeled pool of a checkpoint's run: a table in the pool's order, and what its rows are."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import replace, sync_file, write_bytes, write_text, writing
from semisonic.checkpoint.tensor_files import write_tensors
from semisonic.config.arguments import check_new_file
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.fingerprint import POOL
from semisonic.inference.classifier import classifier_of
from semisonic.inference.evaluate import AS_RECORDED, Places, check_data, configuration_in, default_device, images_of
from semisonic.inference.outputs import encoded
from semisonic.schema import UserError
from semisonic.text import dump_json
from semisonic.training.build import draw_split

ENDINGS = (".npy", ".safetensors")


@dataclass(frozen=True, eq=False)
class PoolTable:
    """The probabilities of a run's pool, and what the rows are."""

    probabilities: Tensor
    """float32 [N, C]."""
    index: np.ndarray
    """int64 [N]: the place of each among the training images."""
    paths: list[str]
    """Of the files, as the data set has them; empty for images in memory."""
    about: dict[str, Any]
    """Which checkpoint, and which data."""


@torch.no_grad()
def predict_pool(
    path: Path, weights: Literal["ema", "raw"] = "ema", places: Places = AS_RECORDED, batch: int = 64
) -> PoolTable:
    """A checkpoint's probabilities on the un-augmented images of its run's unlabeled pool, in its order.

    Raises `UserError` where the data are others than those that the checkpoint was trained with.
    """
    path = checkpoints.find(path)
    checkpoint = checkpoints.load_checkpoint(path)  # once: the run may be replacing it
    cfg = configuration_in(checkpoint.config, path, places)
    data = images_of(cfg, places)
    check_data(path, checkpoint.state, data, POOL, "--root says where they are; the table would be of other images")
    split = draw_split(cfg, data)
    classifier = classifier_of(checkpoint, path, weights).to(default_device())
    if checkpoint.state["split"] != split.hash:
        raise UserError(f"{path}: the data no longer give the split that it was trained with")
    device, pool = classifier.device, split.unlabeled
    with closing(evaluation_slices(source_of(data, device, pool), batch, Placement(device))) as slices:
        found = torch.cat([classifier(images).softmax(-1)[valid].cpu() for images, _, valid in slices])
    paths = [data.train.paths[index] for index in pool.tolist()] if isinstance(data.train, ImageFiles) else []
    about = {"checkpoint": str(path), "net": weights, "classes": classifier.classes, "split": split.hash}
    return PoolTable(found, pool, paths, {**about, "data": dict(data.fingerprint)})


def companions(path: Path) -> tuple[Path, Path]:
    """The files beside a table: a CSV of its rows, and what it is of."""
    return path.with_name(f"{path.stem}.rows.csv"), path.with_name(f"{path.stem}.json")


def check_output(path: Path) -> None:
    """Raises `UserError` where the table, or a file beside it, cannot be written or is there already."""
    check_new_file("--out", path, ENDINGS)
    for beside in companions(path):
        check_new_file("--out", beside)


def write_pool(table: PoolTable, path: Path) -> None:
    """The table, which `algorithm.predictions` reads, as .npy or .safetensors by the file's ending; and beside it the
    columns row, index and path of its rows, and what it is of."""
    rows, about = companions(path)
    columns = {
        "row": np.arange(len(table.index)),
        "index": table.index,
        "path": table.paths or [""] * len(table.index),
    }
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(rows, encoded(columns, "csv"))
        write_text(about, dump_json(table.about, indent=1))
        staged = path.with_name(f".{path.name}.tmp")
        if path.suffix == ".npy":
            with staged.open("wb") as file:
                np.save(file, table.probabilities.numpy())
            sync_file(staged)
        else:
            write_tensors(staged, {"predictions": table.probabilities})
        replace(staged, path)
