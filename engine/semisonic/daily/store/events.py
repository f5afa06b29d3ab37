"""Rows of `event`: how one is appended, and which of them are undone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from semisonic.daily.store.database import Connection
from semisonic.schema import UserError
from semisonic.text import dump_json, name_of

LONGEST_WHO = 100
"""Characters of a person's name."""
LONGEST_KEY = 200
PAGE = ("audit", "suspicious", "given", "farthest", "free", "sweep", "accept", "second-look")
SOURCES = frozenset(("add", "import", "command", "python", *(f"page:{queue}" for queue in PAGE)))
"""Where a change may come from."""


class Event(NamedTuple):
    """A row of `event`, as it was appended."""

    id: int
    kind: str
    image: int | None
    class_id: int | None
    state: int | None
    source: str
    who: str
    at: str
    previous: int | None
    """The image's newest event before."""
    run: str | None
    key: str | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Author:
    """Who changes something, and from where."""

    who: str
    source: str = "command"

    def __post_init__(self) -> None:
        check_who(self.who)
        if self.source not in SOURCES:
            raise UserError(f"source: {name_of(self.source)} is none; one of {', '.join(sorted(SOURCES))}")


def check_who(who: str) -> None:
    """Raises `UserError` where a text is no name of a person."""
    if not who.strip() or len(who) > LONGEST_WHO or not who.isprintable():
        raise UserError(
            f"--who: {name_of(repr(who))} is not valid; expected a name of 1 to {LONGEST_WHO} characters in one line"
        )


def moment() -> str:
    """Now, in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def append(
    connection: Connection,
    author: Author,
    kind: str,
    *,
    image: int | None = None,
    class_id: int | None = None,
    state: int | None = None,
    previous: int | None = None,
    run: str | None = None,
    key: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> int:
    """Appends an event, inside of a transaction; returns its number."""
    text = dump_json(dict(details)) if details else None
    row = (kind, image, class_id, state, author.source, author.who, moment(), previous, run, key, text)
    return int(connection.execute(f"INSERT INTO event ({_WRITTEN}) VALUES ({', '.join('?' * 11)})", row).lastrowid)


_WRITTEN = "kind, image, class, state, source, who, at, previous, run, key, details"


def select(connection: Connection, where: str, parameters: Sequence[Any] = ()) -> list[Event]:
    """The events that a condition holds for, and what else stands after it, such as their order."""
    rows = connection.execute(f"SELECT id, {_WRITTEN} FROM event WHERE {where}", parameters).fetchall()
    return [Event._make((*row[:-1], json.loads(row[-1]) if row[-1] else {})) for row in rows]


def event_of(connection: Connection, number: int) -> Event:
    """Raises `UserError` where there is none of this number."""
    if not 0 < number < 2**63 or not (found := select(connection, "id = ?", (number,))):
        raise UserError(f"event {number}: there is none of this number")
    return found[0]


def last_event(connection: Connection) -> int:
    """The number of the newest event; 0: there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM event").fetchone()[0])


def undone(events: Iterable[Event]) -> set[int]:
    """The numbers of those events that are undone: by one that is not undone itself."""
    found: set[int] = set()
    for event in sorted((event for event in events if event.kind == "undo"), reverse=True):
        if event.id not in found:
            found.add(event.details["event"])
    return found


def undone_by(events: Sequence[Event], number: int) -> Event:
    """The event that has undone another."""
    out = undone(events)
    return next(
        event for event in events if event.kind == "undo" and event.details["event"] == number and event.id not in out
    )
