"""A checkpoint on the test set that it was trained beside: its metrics, and pictures of its confusion."""

import json
from contextlib import closing
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import write_text
from semisonic.config.renamed import saved_fields
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.registry import load_data_set
from semisonic.inference.classifier import load_classifier
from semisonic.plugins import loaded_plugins, require_plugins
from semisonic.reporting.console import save_confusion
from semisonic.schema import UserError
from semisonic.training.metrics import Evaluation, evaluate


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def configuration_of(folder: Path, root: Path | None = None) -> RunConfig:
    """The configuration that a checkpoint's folder was trained with; `root`: where its data lie now."""
    fields = saved_fields(yaml.safe_load((folder / "config.yaml").read_text()))
    require_plugins(fields.get("plugins", ()), loaded_plugins(), str(folder))
    if root is not None:
        fields["data"]["root"] = str(root)
    try:
        return RunConfig.model_validate(fields)
    except ValidationError as error:
        raise UserError(
            f"{folder / 'config.yaml'}: not a configuration of this version ({error.errors()[0]['msg']})"
        ) from error


def evaluate_checkpoint(
    path: Path, weights: tuple[str, ...] = ("ema", "raw"), root: Path | None = None, batch: int = 256
) -> tuple[dict[str, Evaluation], DataSet]:
    """The metrics of a checkpoint's weights, ema and raw, on its run's test images; `root`: where the data are."""
    folder = checkpoints.find(path)
    cfg = configuration_of(folder, root)
    data = load_data_set(cfg.data)
    device = default_device()
    results = {}
    for name in weights:
        classifier = load_classifier(folder, net=name).to(device)  # type: ignore[arg-type]
        if list(data.classes) != classifier.classes:
            raise UserError(f"--root: its classes {data.classes} are not the checkpoint's {tuple(classifier.classes)}")
        with closing(evaluation_slices(source_of(data, device, test=True), batch, Placement(device))) as slices:
            results[name] = evaluate(classifier, slices, len(data.classes))
    return results, data


def write_evaluation(results: dict[str, Evaluation], data: DataSet, folder: Path) -> None:
    """evaluation.json, and the confusion matrix of each network as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        name: {**result.scalars(), "per_class": result.per_class, "confusion": result.confusion}
        for name, result in results.items()
    }
    write_text(folder / "evaluation.json", json.dumps({"classes": data.classes, **content}, indent=1))
    for name, result in results.items():
        save_confusion(folder / f"confusion-{name}.png", result.confusion, data.classes)
