"""Frozen training sets: a CSV for each, as `data.csv` takes it, and a row that says what it was made of."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from semisonic.checkpoint.atomic_files import replace, stage
from semisonic.daily.store.classes import read_classes
from semisonic.daily.store.current import read_current
from semisonic.daily.store.database import Connection, snapshot, transaction
from semisonic.daily.store.days import current_day
from semisonic.daily.store.events import last_event, moment
from semisonic.daily.store.images import file_is, real_path
from semisonic.daily.store.rows import PERSON, Current, Revision, State
from semisonic.daily.writing import written
from semisonic.schema import UserError
from semisonic.text import csv_cell, dump_json, name_of

FOLDER = "revisions"


def revision_path(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:04d}.csv"


def freeze(connection: Connection, folder: Path, run: str, classes: Sequence[str] | None = None) -> Revision:
    """Writes the training set of a run into the project's folder and keeps it as the next revision.

    A row per image that is not rejected, with its label where a person has given or confirmed one. classes: those that
    the project must have; None: whatever it has. Images whose files are gone or changed are left out and counted.
    Raises `UserError`.
    """
    with snapshot(connection):
        last, day = last_event(connection), current_day(connection)
        number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM revision").fetchone()[0]
        own, lines, labeled, gone = _training_set(connection)
    if classes is not None and list(classes) != own:
        raise UserError(
            f"classes: the project has {', '.join(map(name_of, own))} by now, in this order; begin the training again"
        )
    content = _content(lines)
    path = revision_path(folder, number)
    with written(path):
        path.parent.mkdir(exist_ok=True)
        replace(stage(path, content), path)
    found = Revision(
        number, day, run, path, len(lines), labeled, _digest(content), tuple(own), last, gone,
    )  # fmt: skip
    with transaction(connection):
        connection.execute(
            "INSERT INTO revision (number, day, run, at, last_event, images, labeled, digest, classes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, day, run, moment(), last, found.images, labeled, found.digest, dump_json(own)),
        )
    return found


def training_digest(connection: Connection) -> str:
    """The digest of the revision that would be frozen now: of its images and labels."""
    with snapshot(connection):
        lines = _training_set(connection)[1]
    return _digest(_content(lines))


def _content(lines: Sequence[str]) -> bytes:
    return "".join(["path,label\n", *lines]).encode()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _training_set(connection: Connection) -> tuple[list[str], list[str], int, int]:
    """The classes, and what `_lines` makes of the images as they are now."""
    active, current = read_classes(connection).active(), read_current(connection)
    rows = connection.execute(
        "SELECT image, path, path.bytes, mtime_ns, hash FROM path JOIN image ON image.id = image ORDER BY path.id"
    )
    lines = _lines(current, {row.id: row.name for row in active}, {row[0]: row[1:] for row in rows})
    return [row.name for row in active], *lines


def _lines(
    current: Current, names: dict[int, str], files: dict[int, tuple[str, int, int, bytes]]
) -> tuple[list[str], int, int]:
    """The rows of the CSV, how many have a label, and how many images were left out for want of their files."""
    lines, labeled, gone = [], 0, 0
    for image, state, label in zip(
        current.image.tolist(), current.state.tolist(), current.class_id.tolist(), strict=True
    ):
        if state == State.REJECTED:
            continue
        stored, size, time, digest = files.get(image, ("", 0, 0, b""))
        path = real_path(stored)
        if not path or file_is(path, (size, time), digest):
            gone += 1
            continue
        given = names[label] if state in PERSON else ""
        labeled += bool(given)
        lines.append(row_of(path, given))
    return lines, labeled, gone


def row_of(path: str, label: str) -> str:
    """A row of a training set."""
    return f"{_cell(path)},{_cell(label)}\n"


def _cell(text: str) -> str:
    cell = csv_cell(text)
    return '"' + cell.replace('"', '""') + '"' if any(letter in cell for letter in ',"\n\r') else cell


def revisions(connection: Connection, folder: Path) -> list[Revision]:
    """All of them, the oldest first."""
    rows = connection.execute(
        "SELECT number, day, run, images, labeled, digest, classes, last_event FROM revision ORDER BY number"
    ).fetchall()
    return [_row(folder, *row) for row in rows]


def _row(
    folder: Path, number: int, day: int, run: str, images: int, labeled: int, digest: str, classes: str, last: int
) -> Revision:
    path = revision_path(folder, number)
    return Revision(number, day, run, path, images, labeled, digest, tuple(json.loads(classes)), last)
