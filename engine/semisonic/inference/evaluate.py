"""A checkpoint on its run's test images or on one's own: its metrics, and pictures of its confusion."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint.atomic_files import write_text
from semisonic.config.migrations import read_text
from semisonic.config.run_config import RunConfig
from semisonic.data.loading.calls import Placement
from semisonic.data.loading.image_source import source_of
from semisonic.data.loading.loader import evaluation_slices
from semisonic.data.sets.base import DataSet
from semisonic.data.sets.fingerprint import TABLE, TEST, data_problem
from semisonic.data.sets.named_places import remember, strange_places
from semisonic.data.sets.registry import load_data_set
from semisonic.inference.classifier import classifier_of
from semisonic.inference.files import LabeledFolder, file_slices, labeled_folder
from semisonic.plugins import loaded_plugins, require_plugins
from semisonic.records.reading import read_text as read_file
from semisonic.records.reading import shown
from semisonic.records.schemas import mistakes
from semisonic.records.yaml_text import LIMIT
from semisonic.reporting.console import network_of, save_confusion
from semisonic.reporting.reporters import Reporters
from semisonic.schema import UserError
from semisonic.text import dump_json
from semisonic.training.class_groups import by_class
from semisonic.training.metrics import Evaluation, evaluate, or_null


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Places:
    """Where a run's data lie now, as options say it; None: where the run found them, or inside of `root`."""

    root: Path | None = None
    csv: Path | None = None
    test_root: Path | None = None
    split: Path | None = None

    def given(self) -> dict[str, Path]:
        """By the names of the fields of `data`."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: path for name, path in named.items() if path is not None}


AS_RECORDED = Places()


def configuration_of(folder: Path, places: Places = AS_RECORDED) -> RunConfig:
    """The configuration that a checkpoint's folder was trained with; `places`: where its data lie now."""
    return configuration_in(read_file(folder / "config.yaml", LIMIT), folder, places)


def configuration_in(text: str, folder: Path, places: Places = AS_RECORDED) -> RunConfig:
    """The same from the text of the checkpoint's configuration."""
    file = folder / "config.yaml"
    content = read_text(text, file).fields
    require_plugins(content.get("plugins", ()), loaded_plugins(), str(folder))
    recorded = _validated(content, file).data.model_dump(mode="json")
    return _validated({**content, "data": {**content["data"], **_moved(recorded, places)}}, file)


def _validated(content: dict[str, Any], file: Path) -> RunConfig:
    """Nothing is downloaded for a configuration that came with a run."""
    section = content.get("data")
    if not isinstance(section, dict):
        raise UserError(f"{file}: data: {shown(section)}; a section of fields is needed")
    try:
        return RunConfig.model_validate({**content, "data": {**section, "download": False}})
    except ValidationError as error:
        raise UserError(mistakes(error, str(file))) from error


def _moved(data: dict[str, Any], places: Places) -> dict[str, str]:
    """The fields of `data` that name what lies elsewhere by now: those that are given, and what was in the folder of
    the data, where it is in `root`."""
    given, root = places.given(), places.root
    there: dict[str, Path] = {}
    before = data.get("root") or (Path(data["csv"]).parent if data.get("csv") else None)
    if root is not None and before is not None:
        inside = Path(before)
        named = {name: Path(path) for name in ("csv", "test_root", "split") if (path := data.get(name))}
        there = {name: root / path.relative_to(inside) for name, path in named.items() if path.is_relative_to(inside)}
    return {name: str(path) for name, path in there.items() if path.exists()} | {
        name: str(path) for name, path in given.items()
    }


OPTIONS = {"csv": "--csv (or --root, for its folder)", "root": "--root", "test_root": "--test-root", "split": "--split"}
"""Which option says where a field's file or folder lies."""


def images_of(cfg: RunConfig, places: Places = AS_RECORDED) -> DataSet:
    """The data set of a run. Raises `UserError` that says how to name what is gone, and what the user never named."""
    problems = [
        f"data.{name}: {path} is not there any more; {OPTIONS[name]} says where the images are now"
        for name in ("csv", "root", "test_root")
        if (path := getattr(cfg.data, name)) is not None and cfg.data.name == "folder" and not path.exists()
    ]
    if problems:
        raise UserError(problems)
    given = list(places.given().values())
    if problems := strange_places(cfg.data, given):
        raise UserError(problems)
    if given:
        remember(cfg.data)
    return load_data_set(cfg.data)


def check_data(path: Path, state: Mapping[str, Any], data: DataSet, parts: tuple[str, ...], advice: str) -> None:
    """Raises `UserError` where these parts of the data are others than those of the checkpoint or the run in `path`,
    whose state.json is `state`. One that an older version wrote knows nothing of them."""
    run = next((folder for folder in (path, *path.parents[:2]) if (folder / TABLE).is_file()), path)
    known = state.get("data")
    if known is not None and (problem := data_problem(known, data, run / TABLE, f"the run in {run}", parts)):
        raise UserError(f"{problem}; {advice}")


@dataclass(frozen=True)
class Evaluated:
    """The metrics of a checkpoint's weights on some images."""

    results: dict[str, Evaluation]
    """By the name of the weights, ema or raw."""
    classes: tuple[str, ...]
    images: str
    """Which they were."""
    notes: tuple[str, ...] = ()
    """What to tell the user of them, a line each."""
    labeled: list[int] | None = None
    """Labeled images of every class that the run had, [C]; None where it is of an earlier version."""
    of: Mapping[str, str] = field(default_factory=dict)
    """By the name of the weights, whose they are: run, network and step."""

    @property
    def uneven(self) -> bool:
        """Whether classes are known to have had different numbers of labeled images."""
        return len(set(self.labeled or ())) > 1

    def by_class(self, name: str) -> dict[str, float]:
        """What a majority class cannot carry, of these weights: see `class_groups.by_class`."""
        return by_class(self.results[name], self.labeled)


def labeled_counts(state: Mapping[str, Any], path: Path) -> list[int] | None:
    """Labeled images of every class that the run of a checkpoint had, [C]; None where an earlier version wrote it."""
    counts, classes = state.get("labeled_counts"), len(state["classes"])
    if counts is not None and len(counts) != classes:
        raise UserError(f"{path / 'state.json'}: labeled_counts: {len(counts)} numbers of {classes} classes")
    return counts


def evaluate_checkpoint(
    path: Path, weights: tuple[str, ...] = ("ema", "raw"), places: Places = AS_RECORDED, batch: int = 256
) -> Evaluated:
    """The metrics of a checkpoint's weights, ema and raw, on its run's test images; `places`: where the data are."""
    checkpoint = checkpoints.load_checkpoint(path)  # once: the run may be replacing it
    cfg = configuration_in(checkpoint.config, path, places)
    if cfg.data.test == "none":
        raise UserError(
            f"data.test: the run of {path} has no test images; name a folder of labeled ones: "
            f"semisonic evaluate {path} FOLDER"
        )
    data = images_of(cfg, places)
    device = default_device()
    advice = f"--root says where they are; images of your own are a folder: semisonic evaluate {path} FOLDER"
    check_data(path, checkpoint.state, data, TEST, advice)
    results = {}
    for name in weights:
        classifier = classifier_of(checkpoint, path, name).to(device)  # type: ignore[arg-type]
        if list(data.classes) != classifier.classes:
            raise UserError(f"--root: its classes {data.classes} are not the checkpoint's {tuple(classifier.classes)}")
        with closing(evaluation_slices(source_of(data, device, test=True), batch, Placement(device))) as slices:
            results[name] = evaluate(classifier, slices, len(data.classes))
    labeled = labeled_counts(checkpoint.state, path)
    return Evaluated(
        results,
        data.classes,
        f"{data.test_count} test images of {data.name}",
        (),
        labeled,
        _of(checkpoint, path, weights),
    )


def evaluate_folder(path: Path, images: Path, weights: tuple[str, ...] = ("ema", "raw"), batch: int = 256) -> Evaluated:
    """The same on one's own images, one folder a class, whose names are the run's."""
    checkpoint, device, results = checkpoints.load_checkpoint(path), default_device(), {}
    found: LabeledFolder | None = None
    for name in weights:
        classifier = classifier_of(checkpoint, path, name).to(device)  # type: ignore[arg-type]
        found = found or labeled_folder(images, classifier.classes)
        with closing(file_slices(classifier.transform, found.files, batch, device)) as slices:
            results[name] = evaluate(classifier, slices, len(classifier.classes))
    assert found is not None  # there is at least one name
    left_out = f"; {len(found.bad)} files left out" if found.bad else ""
    title = f"{len(found.files)} images of {images}{left_out}"
    labeled = labeled_counts(checkpoint.state, path)
    return Evaluated(
        results, tuple(classifier.classes), title, tuple(found.notes), labeled, _of(checkpoint, path, weights)
    )


def _of(checkpoint: checkpoints.Checkpoint, path: Path, weights: tuple[str, ...]) -> dict[str, str]:
    return {name: network_of(path, name, checkpoint.state["step"]) for name in weights}


def write_evaluation(evaluated: Evaluated, folder: Path) -> None:
    """evaluation.json, and the confusion matrix of each network as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        name: {
            **result.scalars(),
            **evaluated.by_class(name),
            "count": result.count,
            "top1_interval": result.interval,
            "per_class": or_null(result.per_class),
            "precision": or_null(result.precision),
            "recall": or_null(result.recall),
            "f1": or_null(result.f1),
            "confusion": result.confusion,
        }
        for name, result in evaluated.results.items()
    }
    write_text(folder / "evaluation.json", dump_json({"classes": evaluated.classes, **content}, indent=1))
    reporters = Reporters()
    for name, result in evaluated.results.items():
        picture = folder / f"confusion-{name}.png"
        drawn = partial(save_confusion, picture, result.confusion, evaluated.classes, of=evaluated.of.get(name, ""))
        reporters.attempt(picture.name, None, drawn)
