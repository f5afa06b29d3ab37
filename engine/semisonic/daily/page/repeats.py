"""Hidden repeats: of a reviewer's images some come a second time, and of other reviewers' a few, so that the report can
say how often a person agrees with themselves and with others.

A repeat is shown in a blind queue like every other image there; only its sealed item tells it. The answer does not
change what stands for the image. It is a row of `second_look`, and a note among the events that names the row: so the
browser gets an event for it as for every answer, and can have it undone.
"""

from collections.abc import Sequence
from typing import Any

from semisonic.daily.page.items import Item, Seal
from semisonic.daily.page.tally import Look
from semisonic.daily.store import State, Store
from semisonic.daily.store import queues as store_queues
from semisonic.daily.store.events import Author, Event, append, select, undone

OWN = 0.05
"""Of a reviewer's own images, the share that comes twice."""
OTHERS = 0.02
"""Of those that others have looked at, the share that a reviewer sees too."""
APART = 10
"""Looks between the first and the second, at least."""
QUEUES = ("audit", "suspicious", "farthest", "free")
"""Whose images are repeated."""


def pending(store: Store, seal: Seal, who: str, looks: Sequence[Look]) -> list[Look]:
    """The first looks that a reviewer should repeat now, the oldest first. looks: those of today that stand."""
    own = [look.event for look in looks if look.who == who]
    if len(own) <= APART:
        return []
    last = own[-APART - 1]
    drawn = [
        look
        for look in looks
        if look.event <= last
        and look.queue in QUEUES
        and seal.draw(f"repeat {who}\n{look.image}") < (OWN if look.who == who else OTHERS)
    ]
    repeated = {note.details["first"] for note in _notes(store.connection, who)} if drawn else set()
    return [look for look in drawn if look.event not in repeated and _stands(store.connection, look)]


def _stands(connection: Any, look: Look) -> bool:
    """Whether a look is still the last word on its image."""
    row = connection.execute("SELECT event FROM now WHERE image = ?", (look.image,)).fetchone()
    return row is not None and row[0] == look.event


def _notes(connection: Any, who: str) -> list[Event]:
    """The repeats of a reviewer that stand, the oldest first."""
    events = select(connection, "image IS NULL AND kind IN ('note', 'undo') ORDER BY id")
    out = undone(events)
    return [
        event
        for event in events
        if event.kind == "note" and event.who == who and "second_look" in event.details and event.id not in out
    ]


def answer(store: Store, item: Item, author: Author, state: State, class_id: int | None, key: str) -> int:
    """Keeps the answer on a repeat, which replaces an earlier one on the same; returns its event."""
    assert item.first is not None
    connection = store.connection
    with store.transaction():
        if before := select(connection, "key = ?", (key,)):
            return before[0].id
        for note in _notes(connection, author.who):
            if note.details["first"] == item.first:
                take_back(store, note, author)
        queued = _queued(connection, item.image)
        number = store.second_look(item.image, item.first, author.who, state, class_id, key, author.source)
        details = {
            "image": item.image, "first": item.first, "second_look": number,
            "queued": not queued and _queued(connection, item.image),
        }  # fmt: skip
        return append(connection, author, "note", key=key, details=details)


def take_back(store: Store, note: Event, author: Author, key: str | None = None) -> int:
    """Undoes an answer on a repeat; returns the event that does so."""
    if note.details["queued"]:
        store_queues.leave(store.connection, store_queues.SECOND_LOOK, [note.details["image"]])
    return append(store.connection, author, "undo", key=key, details={"event": note.id})


def is_repeat(event: Event) -> bool:
    return event.kind == "note" and "second_look" in event.details


def stands(connection: Any, note: Event) -> bool:
    """Whether an answer on a repeat is not undone."""
    return any(event.id == note.id for event in _notes(connection, note.who))


def newest(connection: Any, who: str) -> Event | None:
    """A reviewer's newest answer on a repeat that stands."""
    return next(reversed(_notes(connection, who)), None)


def _queued(connection: Any, image: int) -> bool:
    sql = "SELECT EXISTS (SELECT 1 FROM queue WHERE name = ? AND image = ?)"
    return bool(connection.execute(sql, (store_queues.SECOND_LOOK, image)).fetchone()[0])
