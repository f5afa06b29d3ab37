"""Predictions of a trained checkpoint, for a folder of images or for the unlabeled pool of its run."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from semisonic.checkpoint import format as checkpoints
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.fingerprint import POOL
from semisonic.inference.classifier import Classifier, classifier_of, load_classifier
from semisonic.inference.evaluate import check_data, configuration_in, default_device, images_of
from semisonic.inference.files import file_slices
from semisonic.schema import UserError
from semisonic.training.build import draw_split


@torch.no_grad()
def predict_pool(
    path: Path, weights: Literal["ema", "raw"] = "ema", root: Path | None = None, batch: int = 64
) -> Tensor:
    """A checkpoint's probabilities [N, classes] on the un-augmented images of its run's unlabeled pool, in its order.

    Raises `UserError` where the data are others than those that the checkpoint was trained with.
    """
    checkpoint = checkpoints.load_checkpoint(path)  # once: the run may be replacing it
    cfg = configuration_in(checkpoint.config, path, root)
    data = images_of(cfg, root)
    check_data(path, checkpoint.state, data, POOL, "--root says where they are; the table would be of other images")
    split = draw_split(cfg, data)
    classifier = classifier_of(checkpoint, path, weights).to(default_device())
    if checkpoint.state["split"] != split.hash:
        raise UserError(f"{path}: the data no longer give the split that it was trained with")
    device = classifier.device
    with closing(evaluation_slices(source_of(data, device, split.unlabeled), batch, Placement(device))) as slices:
        return torch.cat([classifier(images).softmax(-1)[valid].cpu() for images, _, valid in slices])


def write_pool(probabilities: Tensor, path: Path) -> None:
    """What `algorithm.predictions` reads, as .npy or .safetensors by the file's ending."""
    if path.suffix == ".npy":
        np.save(path, probabilities.numpy())
    else:
        save_file({"predictions": probabilities}, path)


@dataclass(frozen=True)
class Prediction:
    path: str
    label: str
    confidence: float
    top: list[tuple[str, float]]
    """Up to five (class, probability), most probable first."""


@torch.no_grad()
def predict(classifier: Classifier, files: ImageFiles, batch: int = 64) -> Generator[Prediction, None, None]:
    """Predictions for every file, in order; images are decoded by DALI as the un-augmented view of training."""
    slices = file_slices(classifier.transform, files, batch, classifier.device)
    number = 0
    with closing(slices):
        for images, _, valid in slices:
            probabilities = classifier(images).softmax(-1)
            values, indices = probabilities.topk(min(5, len(classifier.classes)))
            for offset in range(int(valid.sum())):
                names = [classifier.classes[i] for i in indices[offset].tolist()]
                top = list(zip(names, values[offset].tolist(), strict=True))
                yield Prediction(files.paths[number], top[0][0], top[0][1], top)
                number += 1


def write_predictions(predictions: list[Prediction], path: Path) -> None:
    """CSV or Parquet, by the file's ending: path, class, confidence, and class and probability of the top five."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    columns: dict[str, list[Any]] = {
        "path": [p.path for p in predictions],
        "class": [p.label for p in predictions],
        "confidence": [p.confidence for p in predictions],
    }
    for place in range(len(predictions[0].top)):
        columns[f"top{place + 1}_class"] = [p.top[place][0] for p in predictions]
        columns[f"top{place + 1}_probability"] = [p.top[place][1] for p in predictions]
    table = pa.table(columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path)


def check_output(path: Path, endings: tuple[str, ...] = (".csv", ".parquet")) -> None:
    """Makes the folder of an output file; raises `UserError` where the file has another ending or is there already."""
    if path.suffix not in endings:
        raise UserError(f"--out {path}: the file must end in {' or '.join(endings)}")
    if path.exists():
        raise UserError(f"--out {path}: already exists; name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror}") from error


def load_on_device(path: Path, weights: Literal["ema", "raw"]) -> Classifier:
    """The network of a checkpoint, on the GPU where there is one."""
    return load_classifier(path, weights).to(default_device())
