"""Which images and classes of a project the rows of an import are about."""

import os
from collections.abc import Sequence
from pathlib import Path

from semisonic.daily.exchange.answers import Wrong
from semisonic.daily.exchange.rows import Row, digest_of
from semisonic.daily.store import Store
from semisonic.daily.store.classes import history, read_classes
from semisonic.daily.store.images import file_is, real_path, stored_path
from semisonic.text import name_of

BATCH = 10_000
"""Rows that are looked up at once."""


class Names:
    """The classes of a project by the names of labels: those of today, and those that they had when they were
    exported."""

    def __init__(self, store: Store):
        classes = read_classes(store.connection)
        self._rows = classes.rows
        self._today = {row.name: row.id for row in classes.active()}
        self._before: dict[str, set[int | None]] = {}
        for event in history(store.connection):
            if event.kind == "class":
                for part in [event.details, *event.details.get("parts", ())]:
                    if "name" in part:
                        self._before.setdefault(part["name"], set()).add(classes.resolve(part["id"]))

    def id_of(self, label: str) -> int:
        """Raises `Wrong` where no class is meant."""
        if (found := self._today.get(label)) is not None:
            return found
        meant = self._before.get(label, set())
        if len(meant) == 1 and (number := next(iter(meant))) is not None:
            return number  # renamed or merged since
        if label in self._before:
            raise Wrong(f"has the label {name_of(label)}, a class that was split or retired; give another one")
        known = ", ".join(map(name_of, list(self._today)[:8])) + (", ..." if len(self._today) > 8 else "")
        raise Wrong(f"has the label {name_of(label)}, and there is no such class ({known}); `classes add` adds one")


def find(store: Store, rows: Sequence[Row], base: Path) -> list[int | str]:
    """The image of each row, or what is wrong with the row.

    By the hash that it names, or else by its path, or else by the content of the file there. base: what relative paths
    are below.
    """
    paths = [os.path.normpath(base / row.path) if row.path else "" for row in rows]
    by_hash = _images(store, "hash", "image", [row.hash for row in rows if row.hash])
    by_path = _images(store, "path", "path", [stored_path(path) for path in paths if path])
    found: list[int | str] = []
    for row, path in zip(rows, paths, strict=True):
        there = by_path.get(stored_path(path))
        image = by_hash.get(row.hash) if row.hash else there
        if image is None:
            image = _by_content(store, row, path)
        if row.hash and there is not None and image != there:
            found.append(f"{name_of(path)}: holds another image now than when the label was given; leave the row out")
        elif image is None:
            found.append(f"{name_of(row.path)}: is no image of this project; `add` it first")
        else:
            found.append(image)
    return found


def _by_content(store: Store, row: Row, path: str) -> int | None:
    """The image that lies at a path, where the row says of no other content that it is meant."""
    digest = digest_of(path) if path else None
    return store.image_with(digest) if digest and row.hash in (None, digest) else None


def _images(store: Store, column: str, table: str, keys: Sequence[object]) -> dict[object, int]:
    wanted = list(dict.fromkeys(keys))
    number = "id" if table == "image" else "image"
    marks = ", ".join("?" * len(wanted))
    rows = store.connection.execute(f"SELECT {column}, {number} FROM {table} WHERE {column} IN ({marks})", wanted)
    return dict(rows.fetchall())


def file_problem(store: Store, image: int) -> str | None:
    """Why an image cannot be labeled: its file is gone, or another one by now. None where nothing is wrong."""
    row = store.connection.execute(
        "SELECT path, path.bytes, mtime_ns, hash FROM path JOIN image ON image.id = path.image "
        "WHERE image = ? ORDER BY path.id DESC LIMIT 1",
        (image,),
    ).fetchone()
    if row is None:
        return f"image {image}: its file was replaced by another image; leave the row out"
    path = real_path(row[0])
    wrong = file_is(path, (row[1], row[2]), row[3])
    return f"{name_of(path)}: is {wrong}; put it back, or `add` it where it lies now" if wrong else None
