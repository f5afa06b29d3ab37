"""The labels and scores of a run become the current ones, and those that an audit backs are accepted."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from semisonic.daily.store.classes import Classes, history, read_classes
from semisonic.daily.store.current import accepted_by, put_auto
from semisonic.daily.store.database import Connection, read_table, transaction
from semisonic.daily.store.events import Author, append
from semisonic.daily.store.packing import pack_ids
from semisonic.daily.store.rows import ScoreBatch, State
from semisonic.schema import UserError
from semisonic.text import name_of

_INDEXES = {
    "score_suspicion": "CREATE INDEX score_suspicion ON score (suspicion)",
    "score_class": "CREATE INDEX score_class ON score (class, suspicion)",
    "score_pair": "CREATE INDEX score_pair ON score (class, runner_up, suspicion)",
    "now_state": "CREATE INDEX now_state ON now (state, class)",
}


def take_over(connection: Connection, run: str, scores: Iterable[ScoreBatch], author: Author) -> int:
    """Makes a run's labels those of all images that no person has decided; returns the event.

    Raises `UserError` where a score is of an image or class that the store has not.
    """
    with transaction(connection):
        classes = read_classes(connection)
        for name in _INDEXES:  # made anew at once, rather than entry by entry
            connection.execute(f"DROP INDEX IF EXISTS {name}")
        connection.execute("DELETE FROM score")
        connection.execute("DELETE FROM accepted")
        known = np.zeros(1 + connection.execute("SELECT coalesce(max(id), 0) FROM image").fetchone()[0], bool)
        known[read_table(connection, "SELECT id FROM image", 1)[:, 0]] = True
        count = 0
        for batch in scores:
            _check(batch, known, classes, run)
            known[batch.image] = False  # an image has one score
            connection.executemany("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _rows(batch, run))
            count += len(batch.image)
        event = append(connection, author, "auto", run=run, details={"images": count})
        put_auto(connection, classes)
        for statement in _INDEXES.values():
            connection.execute(statement)
    return event


def _check(batch: ScoreBatch, known: np.ndarray, classes: Classes, run: str) -> None:
    image = np.asarray(batch.image)
    inside = (image > 0) & (image < len(known))
    wrong = image[~inside | ~known[np.where(inside, image, 0)]]
    if len(wrong) or len(np.unique(image)) < len(image):
        text = f"of image {wrong[0]}, which the store has not, or has a score of already" if len(wrong) else "twice"
        raise UserError(f"run {name_of(run)}: it has scores {text}")
    labels = np.unique(np.concatenate([batch.class_id, batch.runner_up]).astype(np.int64))
    if unknown := [label for label in labels.tolist() if label not in classes.rows and label != -1]:
        raise UserError(f"run {name_of(run)}: it has labels of class {unknown[0]}, which the project has not")


def _rows(batch: ScoreBatch, run: str) -> Iterable[tuple[Any, ...]]:
    runner_up = (None if label < 0 else label for label in batch.runner_up.tolist())
    numbers = (np.asarray(column, np.float64).tolist() for column in batch[3:])  # SQLite keeps NaN as NULL
    image, label = batch.image.tolist(), batch.class_id.tolist()
    return zip(image, (run for _ in image), label, runner_up, *numbers, strict=True)


def accept(connection: Connection, images: np.ndarray, run: str, author: Author, details: Mapping[str, Any]) -> int:
    """Accepts the labels of the newest run of those images whose label they are; returns the event.

    details: threshold and figures of the audit that backs them.
    """
    with transaction(connection):
        current = newest_run(connection)
        if run != current:
            newest = f"those of {name_of(current)} are current" if current else "no run has labeled the images yet"
            raise UserError(f"run: the labels of {name_of(run)} cannot be accepted; {newest}")
        free = read_table(
            connection, "SELECT image FROM now WHERE state IN (?, ?)", 1, (int(State.AUTO), int(State.ACCEPTED))
        )[:, 0]
        chosen = np.intersect1d(np.asarray(images, np.int64), free)
        packed = {"count": len(chosen), "images": pack_ids(chosen)}
        event = append(connection, author, "accept", run=run, details={**details, **packed})
        settle_accepted(connection)
    return event


def settle_accepted(connection: Connection) -> None:
    """Makes the accepted labels those that the events say; inside of a transaction."""
    accepted = accepted_by(history(connection))
    connection.execute("DELETE FROM accepted")
    connection.executemany("INSERT INTO accepted (image, event) VALUES (?, ?)", accepted.items())
    connection.execute("UPDATE now SET state = 1 WHERE state = 2")
    connection.execute("UPDATE now SET state = 2 WHERE state = 1 AND image IN (SELECT image FROM accepted)")


def newest_run(connection: Connection) -> str | None:
    """The run whose labels are current; None where there are none."""
    row = connection.execute("SELECT run FROM event WHERE image IS NULL AND kind = 'auto' ORDER BY id DESC").fetchone()
    return str(row[0]) if row else None
