"""`train --folds N`: N further networks, each of which never sees the label of an Nth of the labeled images.

What they say of these images is told by others of their classes alone, so it shows wrong labels, and their opinion of
auto-labels is that of networks which differ. A class with one label stays in all of them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow
import torch
from pyarrow import parquet

from semisonic.checkpoint.atomic_files import write_bytes, writing
from semisonic.config.run_config import RunConfig
from semisonic.daily.project import Project
from semisonic.daily.store import Revision
from semisonic.daily.store.revisions import row_of
from semisonic.daily.warm import classes_of
from semisonic.data.sets.splits import shuffled_by_class
from semisonic.inference.classifier import load_classifier
from semisonic.records.csv_file import open_csv
from semisonic.schema import UserError

FILE = "folds.parquet"
COLUMNS = {
    "image": pyarrow.int64(), "fold": pyarrow.int32(), "class": pyarrow.int32(), "given": pyarrow.float32(),
    "probabilities": pyarrow.list_(pyarrow.float32()),
}  # fmt: skip


class Row(NamedTuple):
    """A row of a training set."""

    path: str
    label: str


def fold_runs(project: Project, run: str) -> list[Path]:
    """The runs of a run's folds, in order; [] where there are none, or one is not finished."""
    folders = [project.runs / f"{run}-{path.stem.partition('-')[2]}" for path in _lists(_revision(project, run))]
    return folders if all((folder / "summary.json").is_file() for folder in folders) else []


def _revision(project: Project, run: str) -> Revision | None:
    with project.store() as store:
        return next((own for own in reversed(store.revisions()) if own.run == run), None)


def _lists(revision: Revision | None) -> list[Path]:
    """The training sets of a revision's folds, in order."""
    if revision is None:
        return []
    found = revision.path.parent.glob(f"{revision.path.stem}-fold-*.csv")
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def configurations(project: Project, revision: Revision, cfg: RunConfig, count: int) -> list[RunConfig]:
    """Those of the runs of the folds of the run `cfg`, their training sets written. One process may call it.

    They start afresh where `cfg` starts from a network of the project, which has seen all labels. Raises `UserError`
    where the run has another number of folds.
    """
    if (there := len(_lists(revision))) not in (0, count):
        raise UserError(f"--folds: {count}, but {revision.run} has {there}; give as many, or train anew with --again")
    rows = read_rows(revision.path)
    fold_N = assign([row.label for row in rows], revision.classes, count, cfg.seed)
    init = None if cfg.init is not None and cfg.init.is_relative_to(project.folder) else cfg.init
    found = []
    for fold in range(count):
        path = revision.path.with_name(f"{revision.path.stem}-fold-{fold + 1}.csv")
        content = "path,label\n" + "".join(
            row_of(row.path, "" if fold_N[number] == fold else row.label) for number, row in enumerate(rows)
        )
        if not path.exists():
            with writing(path):
                write_bytes(path, content.encode())
        found.append(
            cfg.model_copy(
                update={
                    "out": project.runs / f"{revision.run}-fold-{fold + 1}",
                    "data": cfg.data.model_copy(update={"csv": path}),
                    "checkpoint": cfg.checkpoint.model_copy(update={"snapshots": 0}),
                    "init": init,
                }
            )
        )
    return found


def read_rows(path: Path) -> list[Row]:
    """The rows of a revision."""
    table = open_csv(path, "revision")
    return [Row(*row.cells[:2]) for row in table.rows]


def assign(labels: Sequence[str], classes: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """The fold that lacks each image's label, int64 [N]; -1: all have it, for it has none or is alone in its class.

    Every class is spread evenly, and so are all of them together. By the seed and the labels alone.
    """
    number = {name: place for place, name in enumerate(classes)}
    labels_N = np.array([number[label] if label else -1 for label in labels], np.int64)
    fold_N, begin = np.full(len(labels_N), -1, np.int64), 0
    for order in shuffled_by_class(labels_N, len(classes), seed):
        if len(order) > 1:
            fold_N[order] = (begin + np.arange(len(order))) % folds
            begin += len(order)
    return fold_N


def table(project: Project, run: str) -> Path:
    return project.auto / run / FILE


def predict(project: Project, revision: Revision) -> bool:
    """Writes what each fold's network says of the labeled images whose labels it has not seen, once all are finished.

    Columns: `image`, `fold` (from 1), `class` (the number of the given one), `given` (its probability) and
    `probabilities` (float32 [C], in the order of the revision's classes). One process may call it. Returns whether it
    has written them. Raises `UserError`.
    """
    runs = fold_runs(project, revision.run)
    path = table(project, revision.run)
    if not runs or path.exists():
        return False
    rows = read_rows(revision.path)
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    with project.store() as store:
        numbers = {name: number for number, name in classes_of(store, revision)}
        for fold, (folder, kept) in enumerate(zip(runs, _lists(revision), strict=True), 1):
            unseen = [row for row, other in zip(rows, read_rows(kept), strict=True) if row.label != other.label]
            for row, proba_C in zip(unseen, _probabilities(folder, unseen), strict=True):
                image = store.image_at(row.path)
                if image is not None and proba_C is not None:
                    given = float(proba_C[revision.classes.index(row.label)])
                    values = (image, fold, numbers[row.label], given, proba_C)
                    for name, value in zip(COLUMNS, values, strict=True):
                        columns[name].append(value)
    arrays = {name: pyarrow.array(columns[name], kind) for name, kind in COLUMNS.items()}
    content = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(arrays), content)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, memoryview(content.getvalue()))
    return True


def _probabilities(run: Path, rows: Sequence[Row]) -> Iterator[np.ndarray | None]:
    """Of all classes in the run's order, float32 [C]; None where an image cannot be used."""
    if not rows:
        return
    classifier = load_classifier(run).to("cuda" if torch.cuda.is_available() else "cpu")
    place = {name: index for index, name in enumerate(classifier.classes)}
    for found in classifier.predict_files([row.path for row in rows], top=len(place)):
        proba_C = np.zeros(len(place), np.float32)
        for name, value in found.top:
            proba_C[place[name]] = value
        yield None if found.label is None else proba_C
