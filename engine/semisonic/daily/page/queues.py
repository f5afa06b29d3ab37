"""The pages of a queue: its next images, filtered, from a cursor that stays where it is while others answer.

Images that wait in the audit are shown in the audit alone: whoever met them elsewhere, with what the network says of
them, could not look at them without it any more.

A page costs the same in a project of a thousand images and of a million: every order is that of an index, a cursor
names the last image that was passed, and where a filter lets little through, a page ends after `PATIENCE` with what it
has found by then.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

from semisonic.daily.store import State
from semisonic.daily.store.classes import Classes
from semisonic.daily.store.queues import AUDIT, FARTHEST, NAMES

FREE = "free"
QUEUES = (*NAMES, FREE)
PATIENCE = 0.02
"""Seconds that one page is looked for."""
_PIECE = 250
"""Images that are filtered at a time."""
_PATHS = 20_000
"""Paths that a text is looked for in at a time."""

Cursor = tuple[float, int]
"""Where an image stands in an order, and its number."""


class Row(NamedTuple):
    """An image as the store has it."""

    image: int
    event: int | None
    state: State
    class_id: int | None
    guess: int | None
    """What the newest run says; None: nothing."""
    runner_up: int | None
    suspicion: float | None
    distance: float | None
    day: int
    width: int
    height: int
    path_id: int
    path: str
    audited: bool
    """Whether it waits in the audit."""


@dataclass(frozen=True)
class Ask:
    """What a page is asked for."""

    queue: str
    size: int
    after: Cursor | None = None
    class_id: int | None = None
    pair: tuple[int, int] | None = None
    low: float | None = None
    high: float | None = None
    day: int | None = None
    text: str | None = None
    sort: str | None = None

    @property
    def filtered(self) -> bool:
        return any(value is not None for value in (self.pair, self.low, self.high, self.class_id, self.day, self.text))

    @property
    def by_guess(self) -> bool:
        """Whether a filter would tell what the network says."""
        return any(value is not None for value in (self.pair, self.low, self.high, self.class_id, self.sort))


class Found(NamedTuple):
    rows: list[Row]
    next: Cursor | None
    """After which the next page begins; None: there is none."""


def is_blind(queue: str, day: int) -> bool:
    """Whether a queue shows images without what the network says of them."""
    return queue == AUDIT or (queue == FARTHEST and day <= 1)


def find(connection: Any, classes: Classes, ask: Ask) -> Found:
    """The next page."""
    end = time.monotonic() + PATIENCE
    found: list[Row] = []
    passed = ask.after
    piece = _PIECE if ask.filtered else ask.size + 1
    keys = _keys(connection, classes, ask, piece, end)
    while chunk := list(islice(keys, piece)):
        rows = read(connection, classes, [image for _, image in chunk])
        for key in chunk:
            row = rows.get(key[1])
            if row is not None and _fits(row, ask, key):
                if len(found) == ask.size:
                    return Found(found, passed)
                found.append(row)
                passed = key
        if time.monotonic() > end:
            return Found(found, chunk[-1])
    return Found(found, None)


def read(connection: Any, classes: Classes, images: Sequence[int]) -> dict[int, Row]:
    """What the store has of some images, by their numbers."""
    rows = connection.execute(
        f"""SELECT image.id, now.event, now.state, now.class, score.class, score.runner_up, score.suspicion,
            score.distance, image.day, image.width, image.height, path.id, path.path,
            EXISTS (SELECT 1 FROM queue WHERE name = '{AUDIT}' AND image = image.id)
        FROM image JOIN now ON now.image = image.id LEFT JOIN score ON score.image = image.id
            JOIN path ON path.id = (SELECT max(id) FROM path WHERE path.image = image.id)
        WHERE image.id IN ({", ".join("?" * len(images))})""",
        list(images),
    ).fetchall()
    return {
        image: Row(image, event, State(state), label, classes.resolve(guess), classes.resolve(other), *rest)
        for image, event, state, label, guess, other, *rest in rows
    }


def _fits(row: Row, ask: Ask, key: Cursor) -> bool:
    """Whether an image passes the filters that its order has not applied."""
    if row.audited and ask.queue != AUDIT:
        return False
    if ask.text is not None:
        if ask.text.lower() not in row.path.lower():
            return False
        if ask.queue == FREE and row.path_id != key[0]:
            return False  # found by a path where it lay before
    if ask.day is not None and row.day != ask.day:
        return False
    if (ask.low is not None or ask.high is not None) and not (
        row.suspicion is not None and (ask.low or 0.0) <= row.suspicion <= (1.0 if ask.high is None else ask.high)
    ):
        return False
    if _by_score(ask):
        return True
    if ask.class_id is not None and row.class_id != ask.class_id:
        return False
    return ask.pair is None or pair_of(row) == ask.pair


def pair_of(row: Row) -> tuple[int | None, int | None]:
    """The classes that an image is confused between: its label, and what else the network says."""
    return row.class_id, row.runner_up if row.guess == row.class_id else row.guess


def _by_score(ask: Ask) -> bool:
    """Whether an index of the scores gives the order, and applies class and pair."""
    scored = ask.sort in ("suspicious", "sure") or any(value is not None for value in (ask.pair, ask.low, ask.high))
    return ask.queue == FREE and ask.text is None and scored


# The orders.


def _keys(connection: Any, classes: Classes, ask: Ask, piece: int, end: float) -> Iterator[Cursor]:
    if ask.queue != FREE:
        return _queued(connection, ask, piece)
    if ask.text is not None:
        return _by_path(connection, ask, end)
    if _by_score(ask):
        return _scored(connection, classes, ask, piece)
    return _added(connection, ask, piece)


def _queued(connection: Any, ask: Ask, piece: int) -> Iterator[Cursor]:
    sql = (
        "SELECT position, image FROM queue WHERE name = ? AND (position, image) > (?, ?) "
        "ORDER BY position, image LIMIT ?"
    )
    at = ask.after or (-math.inf, 0)
    while rows := connection.execute(sql, (ask.queue, *at, piece)).fetchall():
        yield from rows
        at = rows[-1]


def _scored(connection: Any, classes: Classes, ask: Ask, piece: int) -> Iterator[Cursor]:
    """By suspicion; of a class, the images that the network gives it, and of a pair, those with it as runner-up."""
    down = ask.sort != "sure"
    if ask.pair is not None:
        filters: list[tuple[str, tuple[int, ...]]] = [
            ("class = ? AND runner_up = ? AND ", (label, other))
            for label in classes.merged(ask.pair[0])
            for other in classes.merged(ask.pair[1])
        ]
    elif ask.class_id is not None:
        filters = [("class = ? AND ", (label,)) for label in classes.merged(ask.class_id)]
    else:
        filters = [("", ())]
    streams = [_scored_stream(connection, ask, down, *one, piece) for one in filters]
    return merge(*streams, reverse=down)


def _scored_stream(
    connection: Any, ask: Ask, down: bool, condition: str, values: tuple[int, ...], piece: int
) -> Iterator[Cursor]:
    low, high = ask.low or 0.0, 1.0 if ask.high is None else ask.high
    side, order, limit, edge = ("<", "DESC", "suspicion >= ?", low) if down else (">", "ASC", "suspicion <= ?", high)
    sql = (
        f"SELECT suspicion, image FROM score WHERE {condition}(suspicion, image) {side} (?, ?) AND {limit} "
        f"ORDER BY suspicion {order}, image {order} LIMIT ?"
    )
    first = (high, 2**62) if down else (low, -1)
    at = first if ask.after is None else min(ask.after, first) if down else max(ask.after, first)
    while rows := connection.execute(sql, (*values, *at, edge, piece)).fetchall():
        yield from rows
        at = rows[-1]


def _added(connection: Any, ask: Ask, piece: int) -> Iterator[Cursor]:
    """In the order of adding, the newest first or last."""
    down = ask.sort != "oldest"
    if ask.class_id is None:
        filters: list[tuple[str, tuple[int, ...]]] = [("", ())]
    else:
        filters = [("state = ? AND class = ? AND ", (int(state), ask.class_id)) for state in State]
    first, last = _numbers_of(connection, ask.day)
    streams = [_added_stream(connection, ask, down, *one, first, last, piece) for one in filters]
    return merge(*streams, reverse=down)


def _added_stream(
    connection: Any, ask: Ask, down: bool, condition: str, values: tuple[int, ...], first: int, last: int, piece: int
) -> Iterator[Cursor]:
    side, order, limit, edge = ("<", "DESC", "image >= ?", first) if down else (">", "ASC", "image <= ?", last)
    sql = f"SELECT 0, image FROM now WHERE {condition}image {side} ? AND {limit} ORDER BY image {order} LIMIT ?"
    start = last + 1 if down else first - 1
    at = start if ask.after is None else min(ask.after[1], start) if down else max(ask.after[1], start)
    while rows := connection.execute(sql, (*values, at, edge, piece)).fetchall():
        yield from rows
        at = rows[-1][1]


def _numbers_of(connection: Any, day: int | None) -> tuple[int, int]:
    """The first and last number of the images of a day, which are numbered as they are added; None: of all."""
    if day is None:
        return 1, 2**62
    sql = "SELECT (SELECT min(id) FROM image WHERE day = ?), (SELECT max(id) FROM image WHERE day = ?)"
    first, last = connection.execute(sql, (day, day)).fetchone()
    return (first, last) if first is not None else (1, 0)


def _by_path(connection: Any, ask: Ask, end: float) -> Iterator[Cursor]:
    """Where the path has a text, in the order in which the paths were added; the cursor is a path's number. At `end`
    the last one is that of no image, and tells how far the search has come.
    """
    assert ask.text is not None
    down = ask.sort != "oldest"
    pattern = "%" + "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in ask.text) + "%"
    most = connection.execute("SELECT coalesce(max(id), 0) FROM path").fetchone()[0]
    sql = (
        "SELECT id, image FROM path WHERE id BETWEEN ? AND ? AND path LIKE ? ESCAPE '\\' "
        f"ORDER BY id {'DESC' if down else 'ASC'}"
    )
    at = (most if down else 1) if ask.after is None else int(ask.after[0]) + (-1 if down else 1)
    while 1 <= at <= most:
        low, high = (max(1, at - _PATHS + 1), at) if down else (at, at + _PATHS - 1)
        yield from connection.execute(sql, (low, high, pattern)).fetchall()
        at = low - 1 if down else high + 1
        if time.monotonic() > end:
            yield (low if down else high, 0)
            return
