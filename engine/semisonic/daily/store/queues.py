"""Queues of images that a person should look at. An image leaves all of them when somebody decides it, and is back in
them when that is undone."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from semisonic.daily.store.database import Connection, read_table
from semisonic.schema import UserError
from semisonic.text import name_of

AUDIT, SUSPICIOUS, GIVEN, FARTHEST, SECOND_LOOK = "audit", "suspicious", "given", "farthest", "second-look"
NAMES = (AUDIT, SUSPICIOUS, GIVEN, FARTHEST, SECOND_LOOK)


def title_of(name: str, day: int) -> str:
    """A queue as the page's tab has it, in small letters; on the first day typical images are chosen, no far ones."""
    if name == FARTHEST and day <= 1:
        return "first images"
    return {GIVEN: "given labels", SECOND_LOOK: "second look"}.get(name, name)


def _check(name: str) -> None:
    if name not in NAMES:
        raise UserError(f"queue: there is none called {name_of(name)}; one of {', '.join(NAMES)}")


def put(connection: Connection, name: str, images: Iterable[int], day: int, position: float | None = None) -> None:
    """Puts images into a queue, at its end in their order; those that are in it stay where they are.

    position: of all of them.
    """
    _check(name)
    last = connection.execute("SELECT coalesce(max(position), 0) FROM queue WHERE name = ?", (name,)).fetchone()[0]
    last = math.floor(last) + 0.5  # whole positions are those of events that put images here
    connection.executemany(
        "INSERT OR IGNORE INTO queue (name, image, position, day) VALUES (?, ?, ?, ?)",
        (
            (name, int(image), float(last + place if position is None else position), day)
            for place, image in enumerate(images, 1)
        ),
    )


def read(connection: Connection, name: str) -> np.ndarray:
    """The images of a queue, in order: int64 [N]."""
    _check(name)
    return read_table(connection, "SELECT image FROM queue WHERE name = ? ORDER BY position, image", 1, (name,))[:, 0]


def leave(connection: Connection, name: str, images: Iterable[int]) -> None:
    """Takes images out of a queue."""
    _check(name)
    connection.executemany("DELETE FROM queue WHERE name = ? AND image = ?", ((name, int(image)) for image in images))


def empty(connection: Connection, name: str) -> None:
    _check(name)
    connection.execute("DELETE FROM queue WHERE name = ?", (name,))


def leave_all(connection: Connection, image: int) -> list[Sequence[Any]]:
    """Takes an image out of all queues; returns where it was, for `put_back`."""
    rows = connection.execute("SELECT name, position, day FROM queue WHERE image = ?", (image,)).fetchall()
    if rows:
        connection.execute("DELETE FROM queue WHERE image = ?", (image,))
    return rows


def put_back(connection: Connection, image: int, places: Iterable[Sequence[Any]]) -> None:
    """Puts an image where it was when it left."""
    connection.executemany(
        "INSERT OR IGNORE INTO queue (name, image, position, day) VALUES (?, ?, ?, ?)",
        ((name, image, position, day) for name, position, day in places),
    )
