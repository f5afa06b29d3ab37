"""Images of a store, known by their content: a file that was moved or renamed is the same image, and one whose content
has changed is another."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.daily.store.classes import Classes, read_classes
from semisonic.daily.store.database import Connection, transaction
from semisonic.daily.store.days import current_day, is_trained, open_day
from semisonic.daily.store.events import Author, last_event, moment
from semisonic.daily.store.labels import record
from semisonic.daily.store.rows import ANY, LOOKED, PERSON, Added, Change, NewImage, State
from semisonic.schema import UserError
from semisonic.text import csv_text, name_of, utf8_text

CHUNK = 10_000
"""Images that are looked up at a time."""
SHOWN = 20
"""Problems of a kind that are told."""


def stored_path(path: str) -> str:
    """A path as the store has it: UTF-8 for any bytes that a file system allows. `real_path` is the reverse."""
    return path if path.isascii() and "\\" not in path else utf8_text(path)


def real_path(stored: str) -> str:
    return csv_text(stored) if "\\" in stored else stored


@dataclass
class _Adding:
    """What one call adds, and what it knows."""

    connection: Connection
    author: Author
    classes: Classes
    added: Added
    next_day: bool
    """Whether the first new image opens another day."""
    next_image: int
    first_image: int
    """Number that the first new image of this call has."""
    first_event: int
    """Number that the first event of this call has."""
    next_event: int
    at: str
    numbers: dict[str, int]
    """Class -> its number."""
    wrong: list[str] = field(default_factory=list)
    """Why nothing is added."""
    rows: dict[str, list[Any]] = field(default_factory=dict)
    """What is to be inserted, by table."""
    later: list[Change] = field(default_factory=list)
    """Labels of images that were there before."""
    said: dict[int, tuple[int, int | None, int]] = field(default_factory=dict)
    """Image -> state, class and newest event; of this chunk."""


def add_images(connection: Connection, images: Iterable[NewImage], author: Author) -> Added:
    """Adds images to the current day, all or none; to the next one where a training of it has begun. What is known by
    its content is not added again.

    A label is an event of its author, for images that nobody has decided. Raises `UserError` for classes that the
    store has not, and for one image under two labels, a line each.
    """
    images = iter(images)
    with transaction(connection):
        classes = read_classes(connection)
        next_image = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM image").fetchone()[0]
        first = last_event(connection) + 1
        adding = _Adding(
            connection, author, classes, Added(current_day(connection)), is_trained(connection), next_image,
            next_image, first, first, moment(), classes.by_name(),
        )  # fmt: skip
        while chunk := list(islice(images, CHUNK)):
            _add_chunk(adding, chunk)
        if adding.wrong:
            raise UserError(_shortened(adding.wrong))
    adding.added.problems = _shortened(adding.added.problems)
    return adding.added


def _shortened(lines: list[str]) -> list[str]:
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], f"and {len(lines) - SHOWN:,} more of this kind"]


def _add_chunk(adding: _Adding, chunk: list[NewImage]) -> None:
    by_hash: dict[bytes, int] = dict(
        _lookup(adding.connection, "SELECT hash, id FROM image WHERE hash", [image.hash for image in chunk])
    )
    stored = [stored_path(image.path) for image in chunk]
    rows = _lookup(adding.connection, f"SELECT {_PATH} FROM path WHERE path", stored)
    by_path: dict[str, tuple[int, ...]] = {row[0]: row[2:] for row in rows}
    older = {row[0] for row in rows if not row[1]}
    adding.said = {
        row[0]: row[1:]
        for row in _lookup(
            adding.connection, "SELECT image, state, class, coalesce(event, 0) FROM now WHERE image", by_hash.values()
        )
    }
    adding.rows = {"image": [], "path": [], "event": [], "now": []}
    adding.later = []
    for image, path in zip(chunk, stored, strict=True):
        before = by_path.get(path)
        number = by_hash.get(image.hash)
        if number is None:
            number = by_hash[image.hash] = _new(adding, image, before)
        else:
            _known(adding, image, number, before)
        found = (number, image.bytes, image.mtime_ns, image.inode)
        back = path in older and before == found and _is_back(adding, number)
        if before != found or back:
            adding.rows["path"].append((*found, path, adding.added.day))
            by_path[path] = found
    _insert(adding)


_PATH = "path, id = (SELECT max(id) FROM path AS other WHERE other.image = path.image), image, bytes, mtime_ns, inode"
"""Of a row: its path, whether it is the newest of its image, and what was seen there."""


def _is_back(adding: _Adding, number: int) -> bool:
    """Whether an image that is at one of its older paths is no more at the newest one."""
    if back := not os.path.lexists(_paths_of(adding.connection, number)[0]):
        adding.added.moved += 1
    return back


def _lookup(connection: Connection, sql: str, keys: Iterable[Any]) -> list[Any]:
    keys = list(keys)
    rows: list[Any] = connection.execute(f"{sql} IN ({', '.join('?' * len(keys))})", keys).fetchall()
    return rows


def _number(adding: _Adding, image: NewImage) -> int | None:
    """The class of an image's label; None: it has none, or one that is wrong."""
    if image.label is None:
        return None
    number = adding.numbers.get(image.label)
    if number is None:
        adding.wrong.append(
            f"{image.path}: there is no class {name_of(image.label)}; add it with `classes add`, or take it out"
        )
    return number


def _new(adding: _Adding, image: NewImage, before: tuple[int, ...] | None) -> int:
    number, label = adding.next_image, _number(adding, image)
    if adding.next_day:
        adding.added.day, adding.added.opened, adding.next_day = open_day(adding.connection), True, False
    adding.next_image += 1
    adding.added.new += 1
    if before is not None:
        adding.added.changed += 1
        adding.added.problems.append(
            f"{image.path}: holds another image than before, number {number}; the one before was number {before[0]}"
        )
    adding.rows["image"].append((number, image.hash, adding.added.day, image.bytes, image.width, image.height))
    said: tuple[int, int | None, int] = (int(State.UNLABELED), None, 0)
    if label is not None:
        said = (int(State.GIVEN), label, adding.next_event)
        author = adding.author
        adding.rows["event"].append(
            (adding.next_event, "label", number, label, said[0], author.source, author.who, adding.at)
        )
        adding.next_event += 1
        adding.added.labeled += 1
    adding.said[number] = said
    adding.rows["now"].append((number, said[0], label, said[2] or None))
    return number


def _known(adding: _Adding, image: NewImage, number: int, before: tuple[int, ...] | None) -> None:
    adding.added.known += 1
    elsewhere = number < adding.first_image and (before is None or before[0] != number)
    if elsewhere and not any(map(os.path.lexists, _paths_of(adding.connection, number))):
        adding.added.moved += 1
    label = _number(adding, image)
    if label is None:
        return
    state, own, event = adding.said[number]
    if state not in LOOKED:
        adding.later.append(Change(number, State.GIVEN, label, ANY))
        adding.said[number] = (int(State.GIVEN), label, adding.first_event)
        adding.added.labeled += 1
    elif state not in PERSON or own != label:
        word = name_of(adding.classes.rows[own].name) if own is not None and state in PERSON else State(state).word
        if event >= adding.first_event:
            adding.wrong.append(f"{image.path}: is labeled {name_of(image.label)}, and the same image {word} elsewhere")
        else:
            adding.added.problems.append(
                f"{image.path}: lies as {name_of(image.label)}; the label {word} that it has here stays"
            )


def _paths_of(connection: Connection, number: int) -> list[str]:
    rows = connection.execute("SELECT path FROM path WHERE image = ? ORDER BY id DESC", (number,)).fetchall()
    return [real_path(row[0]) for row in rows]


def _insert(adding: _Adding) -> None:
    insert = adding.connection.executemany
    insert("INSERT INTO image (id, hash, day, bytes, width, height) VALUES (?, ?, ?, ?, ?, ?)", adding.rows["image"])
    # A path that is another image's now, and one at which an image is back, is the newest again.
    insert(
        "INSERT OR REPLACE INTO path (image, bytes, mtime_ns, inode, path, day) VALUES (?, ?, ?, ?, ?, ?)",
        adding.rows["path"],
    )
    insert(
        "INSERT INTO event (id, kind, image, class, state, source, who, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        adding.rows["event"],
    )
    insert("INSERT INTO now (image, state, class, event) VALUES (?, ?, ?, ?)", adding.rows["now"])
    record(adding.connection, adding.later, adding.author)
    adding.next_event = last_event(adding.connection) + 1


# Where images lie.


def path_of(connection: Connection, image: int) -> Path:
    """The newest path of an image at which there is a file, or the newest one. Raises `UserError` where there is
    none."""
    paths = _paths_of(connection, image)
    if not paths:
        there = connection.execute("SELECT 1 FROM image WHERE id = ?", (image,)).fetchone()
        raise UserError(
            f"image {image}: its file was replaced by another image, and it lies nowhere any more"
            if there
            else f"image {image}: there is none of this number"
        )
    return Path(next(filter(os.path.exists, paths), paths[0]))


def paths(connection: Connection, images: np.ndarray) -> list[str]:
    """The newest path of each image; "" where it lies nowhere any more. No file is looked for."""
    wanted = np.asarray(images, np.int64).tolist()
    if len(wanted) <= CHUNK:
        rows: Iterable[Sequence[Any]] = _lookup(
            connection, "SELECT image, path, id FROM path WHERE image", dict.fromkeys(wanted)
        )
        newest = {row[0]: row[1] for row in sorted(rows, key=lambda row: row[2])}
    else:
        newest = dict(connection.execute("SELECT image, path FROM path ORDER BY id").fetchall())
    return [real_path(newest.get(image, "")) for image in wanted]


def image_with(connection: Connection, digest: bytes) -> int | None:
    """The image of a content."""
    row = connection.execute("SELECT id FROM image WHERE hash = ?", (digest,)).fetchone()
    return int(row[0]) if row else None


def image_at(connection: Connection, path: str) -> int | None:
    """The image that was last seen at an absolute path."""
    row = connection.execute("SELECT image FROM path WHERE path = ?", (stored_path(path),)).fetchone()
    return int(row[0]) if row else None


def file_is(path: str, seen: tuple[int, int], digest: bytes, read: bool = False) -> str:
    """What is wrong with an image's file: "", "gone" or "changed". seen: its bytes and time when it was added; where
    those are others, its content decides. read: in any case."""
    try:
        found = os.stat(path)
        if not read and (found.st_size, found.st_mtime_ns) == seen:
            return ""
        return "" if hash_of(path) == digest else "changed"
    except OSError:
        return "gone"


def hash_of(path: str) -> bytes:
    """BLAKE2b-128 of a file's bytes. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
