"""Labels of people that are probably wrong: those whose images the training found hard to agree with.

By the margin that was recorded during the run (AUM), and where there are folds also by what networks say that have not
seen the label. Never by the finished network's confidence: it has memorized most wrong labels by then.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow
from pyarrow import parquet

from semisonic.checkpoint.atomic_files import write_bytes, writing
from semisonic.curation.ranking import mean_rank
from semisonic.daily import folds
from semisonic.daily.project import Project
from semisonic.daily.store import PERSON, Revision, Store
from semisonic.daily.warm import classes_of
from semisonic.data.sets.fingerprint import TABLE
from semisonic.records.arrays import open_arrays
from semisonic.schema import UserError

FILE = "given.parquet"
QUEUE: Literal["given"] = "given"
MOST, LEAST = 20, 4
"""Labels that are queued where the project says no number, and labels for each of them: of few, few are."""


def table(project: Project, run: str) -> Path:
    return project.auto / run / FILE


def look_at(project: Project, revision: Revision) -> list[str]:
    """Ranks the labels that a finished run was given, keeps the ranks, and queues the most suspicious ones.

    The table has `image`, `class` (its number), `aum`, `folds` (NaN: without) and `rank`, from 1, the most suspicious,
    on. One process may call it. Returns what to tell. Raises `UserError`.
    """
    path = project.runs / revision.run / "labels" / "margins.parquet"
    if not path.is_file():
        return [f"{revision.run} has recorded no margins of given labels, so none of them are looked at again"]
    with project.store() as store:
        columns = ranked(store, project, revision, path)
        most = min(project.settings.looks.get(QUEUE, MOST), len(columns["image"]) // LEAST)
        chosen = doubtful(store, columns)[:most]
        with store.transaction():
            store.empty_queue(QUEUE)
            store.put_queue(QUEUE, chosen.tolist(), revision.day)
        _write(table(project, revision.run), columns)  # last: where it is, all of this is done
    told = f"{len(chosen):,} labels of people, the most doubtful by the training, wait in the queue given labels"
    return [told] if len(chosen) else []


def ranked(store: Store, project: Project, revision: Revision, margins: Path) -> dict[str, np.ndarray]:
    """The columns of the table, most suspicious first."""
    read = parquet.read_table(margins)
    index, total, count = (read[name].to_numpy() for name in ("index", "sum", "n"))
    numbers = {name: number for number, name in classes_of(store, revision)}
    image = images_of(store, project.runs / revision.run, index)
    label = np.array([numbers[name] for name in read["class"].to_pylist()], np.int32)
    known = (count > 0) & (image >= 0)  # in a short run, some are never drawn
    image, label, aum = image[known], label[known], total[known] / count[known]
    found = folds_of(folds.table(project, revision.run), image)
    scores = [-aum]
    if np.isfinite(found).any():  # those that are alone in their classes: neither more suspicious nor less
        scores.append(-np.where(np.isfinite(found), found, np.nanmedian(found)))
    order = np.lexsort((image, -mean_rank(*scores)))
    return {
        "image": image[order], "class": label[order], "aum": aum[order], "folds": found[order].astype(np.float32),
        "rank": np.arange(1, len(order) + 1),
    }  # fmt: skip


def images_of(store: Store, run: Path, index: np.ndarray) -> np.ndarray:
    """The images at places among the training images of a run, by their contents: int64 [N]; -1: none.

    Raises `UserError` where the run's own table of its images cannot be read.
    """
    file = run / TABLE
    try:
        with open_arrays(file, own=True) as stored:
            digests = stored.read("train_digests")[index]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"{file}: cannot be read ({error}); train anew with --again") from error
    found = (store.image_with(digest.tobytes()) for digest in digests)
    return np.array([-1 if image is None else image for image in found], np.int64)


def folds_of(path: Path, image: np.ndarray) -> np.ndarray:
    """The probability of each image's given label by a network that has not seen it, float64 [N]; NaN: by none."""
    found = np.full(len(image), np.nan)
    if path.is_file():
        read = parquet.read_table(path, columns=["image", "given"])
        given = dict(zip(read["image"].to_pylist(), read["given"].to_pylist(), strict=True))
        found = np.array([given.get(number, np.nan) for number in image.tolist()])
    return found


def doubtful(store: Store, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The images in their order whose labels still stand, without those whose label was looked at in this queue."""
    current = store.current()
    place = np.searchsorted(current.image, columns["image"])
    stands = np.isin(current.state[place], sorted(PERSON)) & (
        current.class_id[place] == resolved(store, columns["class"])
    )
    seen = store.connection.execute(
        "SELECT now.image FROM now JOIN event ON event.id = now.event WHERE event.source = ? OR "
        "event.source = 'page:accept' AND json_extract(event.details, '$.queue') = ?",
        (f"page:{QUEUE}", QUEUE),
    )
    looked = np.isin(columns["image"], [row[0] for row in seen.fetchall()])
    return columns["image"][stands & ~looked]


def resolved(store: Store, classes: np.ndarray) -> np.ndarray:
    """The classes that labels of these classes count for by now; -1: none."""
    targets = {number: store.resolve(number) for number in np.unique(classes).tolist()}
    return np.array([-1 if (target := targets[number]) is None else target for number in classes.tolist()], np.int64)


def _write(path: Path, columns: Mapping[str, Any]) -> None:
    content = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(dict(columns)), content)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, memoryview(content.getvalue()))
