"""Whether a store is whole: the database, the chain of events, what is derived of them, and the files."""

import hashlib
import sqlite3
from pathlib import Path

import numpy as np

from semisonic.checkpoint.atomic_files import replace, sync_file
from semisonic.daily.store.audits import first_look
from semisonic.daily.store.classes import Unfounded, read_classes
from semisonic.daily.store.current import read_current, rebuild
from semisonic.daily.store.database import RESTORE, Connection, DatabaseProblem, own_schema, schema, snapshot, told
from semisonic.daily.store.events import select
from semisonic.daily.store.images import file_is, real_path
from semisonic.daily.store.revisions import revisions
from semisonic.daily.writing import written
from semisonic.schema import UserError
from semisonic.text import name_of

SHOWN = 10
"""Problems of a kind that are told."""


def check(connection: Connection, folder: Path, files: bool = True, hashes: bool = False) -> list[str]:
    """What is wrong, a line each; [] where nothing is.

    files: whether all image files are looked for; hashes: whether they are read, too.
    """
    try:
        with snapshot(connection):
            tables = _tables(connection)
            if problems := _database(connection) or _chain(connection):
                return tables + problems  # what else would be found comes of it
            problems = tables + _derived(connection) + _looks(connection) + _revisions(connection, folder)
            return problems + (_files(connection, hashes) if files else [])
    except DatabaseProblem as error:
        return error.messages
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:  # a text that is none, an event without its parts
        reason = f"{type(error).__name__}: {error}"
        return [f"{connection.path.name}: it is damaged ({name_of(reason)}); {RESTORE}"]


def _tables(connection: Connection) -> list[str]:
    """Tables, indexes and triggers are those of this version: without its triggers, events can be changed."""
    own, found = own_schema(), schema(connection)
    return [
        f"{connection.path.name}: the {kind} {name_of(name)} is not as this version makes it"
        for kind, name in sorted({*own, *found})
        if own.get((kind, name)) != found.get((kind, name))
    ][:SHOWN]


def _database(connection: Connection) -> list[str]:
    name = connection.path.name
    found = [row[0] for row in connection.execute(f"PRAGMA integrity_check({SHOWN})").fetchall()]
    problems = [f"{name}: {line}" for line in found if line != "ok"]
    broken = connection.execute("PRAGMA foreign_key_check").fetchmany(SHOWN)
    return problems + [f"{name}: row {row[1]} of {row[0]} names a row of {row[2]} that is not there" for row in broken]


def _chain(connection: Connection) -> list[str]:
    """No number of an event is missing; of each image, every event names the one before it; and every undoing one that
    was there."""
    (count, first, given) = connection.execute(
        "SELECT count(*), coalesce(min(id), 1), coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0) "
        "FROM event"
    ).fetchone()
    if (count, first) != (given, 1):
        return [f"event: there are {count:,}, and {given:,} were made: some are lost; {RESTORE}"]
    rows = connection.execute(
        "SELECT id, previous, was FROM (SELECT id, previous, lag(id) OVER (PARTITION BY image ORDER BY id) AS was "
        "FROM event WHERE image IS NOT NULL) WHERE previous IS NOT was"
    ).fetchmany(SHOWN)
    problems = [f"event {row[0]}: it follows event {row[1]}, and the one before it is {row[2]}" for row in rows]
    known = read_classes(connection).rows
    used = connection.execute(
        "SELECT class FROM event UNION SELECT class FROM score UNION SELECT runner_up FROM score"
    ).fetchall()
    problems += [f"class {row[0]}: there is none of this number" for row in used if row[0] and row[0] not in known]
    for event in select(connection, "kind = 'undo' ORDER BY id"):
        target = select(connection, "id = ?", (event.details["event"],))
        if not target or target[0].id >= event.id or target[0].image != event.image:
            problems.append(f"event {event.id}: it undoes event {event.details['event']}, which is none of its image")
    return problems


def _derived(connection: Connection) -> list[str]:
    """`class`, `now` and `accepted` are what the events make."""
    try:
        made = rebuild(connection)
    except Unfounded as error:
        return [f"class: {error}"]
    problems = []
    if (found := read_classes(connection).rows) != made.classes.rows:
        wrong = [
            number for number in {*found, *made.classes.rows} if found.get(number) != made.classes.rows.get(number)
        ]
        problems.append(f"class: number {wrong[0]} is not what the events make of it")
    current = read_current(connection)
    if not np.array_equal(current.image, made.now.image):
        return [*problems, "now: it has not a row for each image"]
    for name in ("state", "class_id", "event"):
        own, other = getattr(current, name), getattr(made.now, name)
        for at in np.flatnonzero(own != other)[:SHOWN].tolist():
            problems.append(f"now: image {current.image[at]}: {name} is {own[at]}, the events make it {other[at]}")
    rows = dict(connection.execute("SELECT image, event FROM accepted").fetchall())
    if rows != made.accepted:
        problems.append("accepted: it is not what the events make")
    return problems


def _looks(connection: Connection) -> list[str]:
    """The first looks that audits name are those of the events."""
    problems = []
    rows = connection.execute(
        "SELECT audit, image, event, last_event FROM audit_image JOIN audit ON audit.id = audit"
    ).fetchall()
    for audit, image, event, last in rows:
        if (first := first_look(select(connection, "image = ? ORDER BY id", (image,)), last)) != event:
            problems.append(f"audit {audit}: the first look at image {image} is event {first}, and it names {event}")
    return problems[:SHOWN]


def _revisions(connection: Connection, folder: Path) -> list[str]:
    problems = []
    for revision in revisions(connection, folder):
        name = f"{revision.path.parent.name}/{revision.path.name}"
        try:
            digest = hashlib.blake2b(revision.path.read_bytes(), digest_size=16).hexdigest()
        except OSError as error:
            problems.append(f"{name}: {error.strerror}; it is what {name_of(revision.run)} was trained on")
            continue
        if digest != revision.digest:
            problems.append(f"{name}: it was changed since {name_of(revision.run)} was trained on it")
    return problems


def _files(connection: Connection, hashes: bool) -> list[str]:
    """Images whose files are gone, or hold something else by now."""
    found: dict[str, list[str]] = {"gone": [], "changed": []}
    rows = connection.execute(
        "SELECT image.id, path, path.bytes, mtime_ns, hash FROM image LEFT JOIN path ON path.id = "
        "(SELECT max(id) FROM path WHERE path.image = image.id) ORDER BY image.id"
    ).fetchall()
    for image, stored, size, time, digest in rows:
        path = real_path(stored) if stored else ""
        wrong = file_is(path, (size, time), digest, hashes) if path else "gone"
        if wrong:
            found[wrong].append(f"image {image} ({name_of(path) if path else 'replaced by another image'})")
    return [
        f"{len(names):,} image{'s are' if len(names) > 1 else ' is'} {wrong}: {', '.join(names[:SHOWN])}"
        f"{f' and {len(names) - SHOWN:,} more' if len(names) > SHOWN else ''}; put it back, or add it where "
        "it lies now"
        for wrong, names in found.items()
        if names
    ]


def backup(connection: Connection, path: Path) -> None:
    """Copies the store as it is at this moment into a new file, whatever others write meanwhile. Raises `UserError`."""
    if path.exists():
        raise UserError(f"{path}: there is a file already; give another name")
    staged = path.with_name(f".{path.name}.tmp")
    staged.unlink(missing_ok=True)
    try:
        copy = sqlite3.connect(staged)
        try:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        finally:
            copy.close()
        with written(path):
            sync_file(staged)
            replace(staged, path)
    except sqlite3.Error as error:
        raise told(error, path) from error
    finally:
        staged.unlink(missing_ok=True)
