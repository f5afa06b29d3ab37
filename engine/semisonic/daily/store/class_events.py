"""Changes of classes as events, and what they mean for the labels that are there."""

from collections.abc import Sequence
from typing import Any

from semisonic.daily.store import queues
from semisonic.daily.store.classes import (
    Classes,
    Unfounded,
    class_name,
    fold,
    history,
    need,
    new_names,
    read_classes,
    write_classes,
)
from semisonic.daily.store.current import put_auto, put_now
from semisonic.daily.store.database import Connection, read_table, transaction
from semisonic.daily.store.days import current_day
from semisonic.daily.store.events import Author, append
from semisonic.daily.store.rows import PERSON
from semisonic.schema import UserError
from semisonic.text import name_of


def add(connection: Connection, names: Sequence[str], author: Author) -> list[int]:
    """The events that add classes, in their order. Raises `UserError`."""
    with transaction(connection):
        classes = read_classes(connection)
        first = max(classes.rows, default=0) + 1
        changes = [
            {"do": "add", "id": first + place, "name": name} for place, name in enumerate(new_names(classes, names))
        ]
        events = [append(connection, author, "class", details=change) for change in changes]
        settle(connection, classes)
    return events


def rename(connection: Connection, old: str, new: str, author: Author) -> int:
    with transaction(connection):
        classes = read_classes(connection)
        row, name = need(classes, old), class_name(new)
        if name == row.name:
            raise UserError(f"classes: {name_of(name)} is called so already")
        new_names(classes, [name])
        return _change(connection, author, {"do": "rename", "id": row.id, "from": row.name, "name": name})


def merge(connection: Connection, source: str, into: str, author: Author) -> int:
    with transaction(connection):
        classes = read_classes(connection)
        row, target = need(classes, source), need(classes, into)
        if row == target:
            raise UserError(f"classes: {name_of(source)} cannot be merged into itself")
        return _change(connection, author, {"do": "merge", "id": row.id, "into": target.id})


def split(connection: Connection, name: str, parts: Sequence[str], author: Author) -> int:
    with transaction(connection):
        classes = read_classes(connection)
        row = need(classes, name)
        names = new_names(classes, parts, freed=row.name)
        if len(names) < 2:
            raise UserError(f"classes: {name_of(name)} is to be split into {len(names)} classes; at least 2 are needed")
        first = max(classes.rows) + 1
        new = [{"id": first + place, "name": part} for place, part in enumerate(names)]
        return _change(connection, author, {"do": "split", "id": row.id, "parts": new})


def retire(connection: Connection, name: str, author: Author) -> int:
    with transaction(connection):
        row = need(read_classes(connection), name)
        return _change(connection, author, {"do": "retire", "id": row.id})


def _change(connection: Connection, author: Author, details: dict[str, Any]) -> int:
    before = read_classes(connection)
    event = append(connection, author, "class", details=details)
    settle(connection, before, queued=event)
    return event


def settle(
    connection: Connection,
    before: Classes,
    queued: int | None = None,
    unqueued: int | None = None,
    lost: int | None = None,
) -> None:
    """Makes the classes of the events, and what stands of their labels; inside of a transaction.

    queued: the event for which labels that mean something else now are to be looked at again; unqueued: the one for
    which they need not be any more; lost: the one for which those are that count for no class now. Raises
    `Unfounded` where the events cannot be.
    """
    after = fold(history(connection))
    write_classes(connection, after)
    if unqueued is not None:
        connection.execute("DELETE FROM queue WHERE name = ? AND position = ?", (queues.SECOND_LOOK, float(unqueued)))
    changed = [
        number for number in after.rows if number in before.rows and before.resolve(number) != after.resolve(number)
    ]
    if not changed:
        return
    listed = ", ".join(map(str, changed))
    said = read_table(
        connection,
        "SELECT now.image, event.state, event.class, event.id FROM now JOIN event ON event.id = now.event "
        f"WHERE event.class IN ({listed})",
        4,
    )
    labeled = [row for row in said.tolist() if row[1] in PERSON]
    for image, state, label, said_by in labeled:
        put_now(connection, after, image, state, label, said_by)
    put_auto(connection, after, changed)
    counted = [(image, label) for image, _, label, _ in labeled if before.resolve(label) is not None]
    gone = [image for image, label in counted if after.resolve(label) is None]
    for event, images in ((queued, [image for image, _ in counted]), (lost, gone)):
        if event is not None:
            queues.put(connection, queues.SECOND_LOOK, images, current_day(connection), position=float(event))


def impossible(number: int, error: Unfounded) -> UserError:
    """Of undoing an event that others build on."""
    return UserError(f"event {number} cannot be undone: {error}; undo that first")
