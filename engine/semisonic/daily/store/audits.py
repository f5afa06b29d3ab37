"""Audits: random images of which a person says what they are, and the hidden repeats that tell how sure persons are."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from semisonic.daily.store import queues
from semisonic.daily.store.classes import Classes, history, read_classes
from semisonic.daily.store.database import Connection, read_floats, read_table, snapshot, transaction
from semisonic.daily.store.days import current_day
from semisonic.daily.store.events import Author, Event, event_of, last_event, moment, undone
from semisonic.daily.store.rows import LOOKED, NONE, PERSON, AuditRow, AuditRows, SecondLook, State
from semisonic.schema import UserError
from semisonic.text import dump_json

BLIND = "page:audit"
"""The source of looks that were taken without a guess on the screen."""


def new_audit(
    connection: Connection,
    run: str,
    day: int,
    method: str,
    seed: int,
    population: int,
    details: Mapping[str, Any],
    rows: Iterable[tuple[int, int, int, float]],
) -> int:
    """Keeps an audit that was drawn; returns its number. rows: image, stratum, class and certainty of each."""
    with transaction(connection):
        number = connection.execute(
            "INSERT INTO audit (run, day, at, method, seed, population, details, last_event) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (run, day, moment(), method, seed, population, dump_json(dict(details)), last_event(connection)),
        ).lastrowid
        connection.executemany(
            "INSERT INTO audit_image (audit, image, stratum, class, certainty) VALUES (?, ?, ?, ?, ?)",
            ((number, int(image), int(stratum), int(label), float(c)) for image, stratum, label, c in rows),
        )
    return int(number)


def audits(connection: Connection, run: str | None = None) -> list[AuditRow]:
    """The audits of a run, or all of them, the oldest first."""
    rows = connection.execute(
        "SELECT id, run, day, at, method, seed, population, details FROM audit WHERE ? IS NULL OR run = ? ORDER BY id",
        (run, run),
    ).fetchall()
    return [AuditRow._make((*row[:-1], json.loads(row[-1] or "{}"))) for row in rows]


def audit_rows(connection: Connection, number: int) -> AuditRows:
    """The images of an audit, and what persons say of them by now."""
    with snapshot(connection):
        rows = read_table(
            connection,
            "SELECT a.image, a.stratum, a.class, coalesce(a.event, 0), coalesce(event.state, -1), "
            "coalesce(event.class, -1), coalesce(event.source = ?, 0), now.state, coalesce(now.class, -1) "
            "FROM audit_image a JOIN now ON now.image = a.image LEFT JOIN event ON event.id = a.event "
            "WHERE a.audit = ? ORDER BY a.image",
            9,
            (BLIND, number),
        )
        certainty = read_floats(
            connection, "SELECT certainty FROM audit_image WHERE audit = ? ORDER BY image", 1, (number,)
        )[:, 0]
        targets = read_classes(connection).resolution()
    image, stratum, label, event, state, own, blind, now_state, now_class = np.ascontiguousarray(rows.T)
    later = (event > 0) & np.isin(now_state, sorted(LOOKED))  # a person has corrected the first look since
    state, own = np.where(later, now_state, state), np.where(later, now_class, targets[own])
    own = np.where(np.isin(state, sorted(PERSON)), own, NONE)
    return AuditRows(image, stratum, targets[label], certainty, event, state, own, blind.astype(bool))


def looked(connection: Connection, image: int, event: int) -> None:
    """Notes the first look of a person in the audits that an image is in."""
    connection.execute("UPDATE audit_image SET event = ? WHERE image = ? AND event IS NULL", (event, image))


def look_again(connection: Connection, image: int, events: Iterable[Event]) -> None:
    """Notes the first look anew, after one was undone. events: those of the image."""
    rows = connection.execute(
        "SELECT audit, last_event FROM audit_image JOIN audit ON audit.id = audit WHERE image = ?", (image,)
    ).fetchall()
    for audit, last in rows:
        first = first_look(events, last)
        connection.execute("UPDATE audit_image SET event = ? WHERE audit = ? AND image = ?", (first, audit, image))


def first_look(events: Iterable[Event], after: int) -> int | None:
    """The first decision on an image that stands of those after an event."""
    events = list(events)
    out = undone(events)
    return min(
        (e.id for e in events if e.kind == "label" and e.id > after and e.state in LOOKED and e.id not in out),
        default=None,
    )


def second_look(
    connection: Connection,
    image: int,
    first: int,
    author: Author,
    state: State,
    class_id: int | None,
    key: str | None = None,
) -> int:
    """Keeps what a person says of an image that was decided before, by event `first`; returns its number.

    What stands for the image stays. Where the answers differ, it goes into the queue for a second look.
    """
    with transaction(connection):
        if key and (row := connection.execute("SELECT id FROM second_look WHERE key = ?", (key,)).fetchone()):
            return int(row[0])
        event, classes = event_of(connection, first), read_classes(connection)
        target = classes.resolve(class_id)
        if event.image != image or event.kind != "label":
            raise UserError(f"image {image}: event {first} is no label of it")
        if state not in LOOKED or (state in PERSON) != (target is not None):
            raise UserError(f"image {image}: a second look gives a class, or rejected, or unsure")
        number = connection.execute(
            "INSERT INTO second_look (image, first, who, at, state, class, key) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (image, first, author.who, moment(), int(state), target, key),
        ).lastrowid
        if differs(event.state, classes.resolve(event.class_id), state, target):
            queues.put(connection, queues.SECOND_LOOK, [image], current_day(connection))
    return int(number)


def differs(first: int | None, first_class: int | None, state: int, class_id: int | None) -> bool:
    """Whether two answers on an image are not the same; confirmed or given, a class is one answer."""
    if first in PERSON and state in PERSON:
        return first_class != class_id
    return first != state


def second_looks(connection: Connection) -> list[SecondLook]:
    """Those that stand, the oldest first; classes are those merged into by now.

    One that was answered on the page has a note among the events, and stands until that is undone.
    """
    classes, events = read_classes(connection), history(connection)
    out = undone(events)
    gone = {event.details.get("second_look") for event in events if event.kind == "note" and event.id in out}
    rows = connection.execute(
        "SELECT s.id, s.image, s.first, s.who, s.at, s.state, s.class, e.who, e.state, e.class "
        "FROM second_look s JOIN event e ON e.id = s.first ORDER BY s.id"
    ).fetchall()
    return [_second_look(classes, row) for row in rows if row[0] not in gone]


def _second_look(classes: Classes, row: Sequence[Any]) -> SecondLook:
    number, image, first, who, at, state, label, before, before_state, before_label = row
    answer, earlier = classes.resolve(label), classes.resolve(before_label)
    return SecondLook(number, image, first, who, at, State(state), answer, before, State(before_state), earlier)
