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
from semisonic.data.loading.calls import Placement, StepRange
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import ImageSource, source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.loading.sampler import EvaluationSampler
from semisonic.data.loading.stream import Stream
from semisonic.data.sets import manifest
from semisonic.data.sets.base import ImageFiles
from semisonic.data.sets.listing import EXTENSIONS, is_image
from semisonic.data.sets.registry import load_data_set
from semisonic.data.views.view import Geometry
from semisonic.inference.classifier import Classifier, load_classifier
from semisonic.inference.evaluate import configuration_of, default_device
from semisonic.schema import UserError
from semisonic.training.build import draw_split


@torch.no_grad()
def predict_pool(
    path: Path, weights: Literal["ema", "raw"] = "ema", root: Path | None = None, batch: int = 64
) -> Tensor:
    """A checkpoint's probabilities [N, classes] on the un-augmented images of its run's unlabeled pool, in its order.

    Raises `UserError` where the data no longer give the split that the checkpoint was trained with.
    """
    folder = checkpoints.find(path)
    cfg = configuration_of(folder, root)
    data = load_data_set(cfg.data)
    split = draw_split(cfg, data)
    classifier = load_on_device(folder, weights)
    if checkpoints.load_checkpoint(folder).state["split"] != split.hash:
        raise UserError(f"{folder}: the data no longer give the split that it was trained with")
    device = next(classifier.parameters()).device
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


def image_files(folder: Path) -> tuple[ImageFiles, list[str]]:
    """All images below a folder (or one image), and one line for each file that cannot be decoded."""
    if not folder.exists():
        raise UserError(f"{folder}: no such file or folder")
    root = folder if folder.is_dir() else folder.parent
    found = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    paths = [str(p.relative_to(root)) for p in found if is_image(p.name) and not p.is_dir()]
    if not paths:
        raise UserError(f"{folder}: no images found ({', '.join(sorted(EXTENSIONS))})")
    entries = manifest.scan(root, paths).entries
    bad = [f"{p}: {e.reason}" for p, e in zip(paths, entries, strict=True) if e.status == manifest.BAD]
    good = [(p, e) for p, e in zip(paths, entries, strict=True) if e.status != manifest.BAD]
    if not good:
        raise UserError([f"{folder}: none of {len(bad)} files can be decoded", *bad[:20]])
    files = ImageFiles(
        root=root,
        paths=[path for path, _ in good],
        labels=np.full(len(good), -1),
        shapes=np.array([(e.height, e.width) for _, e in good], dtype=np.int32),
        via_pillow=np.array([e.status == manifest.VIA_PILLOW for _, e in good]),
    )
    return files, bad


@torch.no_grad()
def predict(classifier: Classifier, files: ImageFiles, batch: int = 64) -> Generator[Prediction, None, None]:
    """Predictions for every file, in order; images are decoded by DALI as the un-augmented view of training."""
    device = next(classifier.parameters()).device
    about = classifier.preprocess
    geometry = Geometry(
        size=classifier.image_size - 2 * about["border"], pad=0, flip=False, fill=(0, 0, 0), encoded=True,
        device="gpu" if device.type == "cuda" else "cpu",
    )  # fmt: skip
    count = len(files)
    batch = min(batch, count)
    sampler = EvaluationSampler(count, batch)
    views, steps = {"view": about["view"]}, StepRange(stop=sampler.steps)
    with Stream(Draws(0, "predict"), ImageSource(files, geometry), views, sampler, Placement(device), steps) as stream:
        for first in range(0, count, batch):
            images: Tensor = torch.nn.functional.pad(next(stream)["view"], [about["border"]] * 4)
            probabilities = classifier(images).softmax(-1)
            values, indices = probabilities.topk(min(5, len(classifier.classes)))
            for offset in range(min(batch, count - first)):
                names = [classifier.classes[i] for i in indices[offset].tolist()]
                top = list(zip(names, values[offset].tolist(), strict=True))
                yield Prediction(files.paths[first + offset], top[0][0], top[0][1], top)


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
