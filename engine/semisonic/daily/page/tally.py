"""What was looked at today: by whom, how fast, and in which queue. It reads each event once, whoever has made it."""

import json
import threading
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

from semisonic.daily.store.events import last_event

PAUSE = 60.0
"""Seconds between two looks from which they are a pause, which tells nothing of a person's pace."""
_PACE = 60
"""Looks that the pace is of."""
_LEAST = 3
"""Looks without a pause from which there is a pace."""
_PAGE = "page:"


class Look(NamedTuple):
    """A person's answer on the page."""

    event: int
    image: int
    who: str
    queue: str


class Progress(NamedTuple):
    looks: int
    """Today, by one person."""
    per_minute: float | None
    """None: too few to say."""


class Tally:
    """For any number of threads."""

    def __init__(self) -> None:
        self._reading = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._day = datetime.now().astimezone().date()
        self._read = -1
        """The newest event that was read; -1: none was."""
        self._looks: dict[int, Look] = {}
        """By event; those that stand."""
        self._by_who: Counter[str] = Counter()
        self._by_queue: Counter[str] = Counter()
        self._times: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_PACE + 1))

    def follow(self, connection: Any) -> None:
        """Reads what has happened since."""
        with self._reading:
            if datetime.now().astimezone().date() != self._day:
                self._begin()
            if self._read < 0:
                self._read = _last_before(connection, self._day)
            newest = last_event(connection)
            rows = connection.execute(
                "SELECT id, kind, image, source, who, at, details FROM event WHERE id > ? AND id <= ? AND "
                "(kind = 'undo' OR source GLOB 'page:*' AND kind IN ('label', 'note')) ORDER BY id",
                (self._read, newest),
            ).fetchall()
            for row in rows:
                self._add(*row)
            self._read = newest

    def _add(
        self, event: int, kind: str, image: int | None, source: str, who: str, at: str, details: str | None
    ) -> None:
        told = json.loads(details) if details else {}
        if kind == "undo":
            if gone := self._looks.pop(told["event"], None):
                self._by_who[gone.who] -= 1
                self._by_queue[gone.queue] -= 1
            return
        queue = told.get("queue", source.removeprefix(_PAGE))
        self._looks[event] = Look(event, image or told.get("image", 0), who, queue if kind == "label" else "")
        self._by_who[who] += 1
        self._by_queue[queue] += 1
        self._times[who].append(datetime.fromisoformat(at).timestamp())

    def done(self, queue: str) -> int:
        """Answers of today in a queue, by all."""
        with self._reading:
            return self._by_queue[queue]

    def progress(self, who: str) -> Progress:
        with self._reading:
            times = list(self._times[who]) if who in self._times else []
            looks = self._by_who[who]
        gaps = [gap for before, after in pairwise(times) if (gap := after - before) < PAUSE]
        if len(gaps) < _LEAST or sum(gaps) <= 0:
            return Progress(looks, None)
        return Progress(looks, 60.0 * len(gaps) / sum(gaps))

    def looks(self) -> list[Look]:
        """Today's first looks that stand, the oldest first."""
        with self._reading:
            return [look for look in self._looks.values() if look.queue]


def _last_before(connection: Any, day: Any) -> int:
    """The newest event before a day of this machine's time: events are in the order of their times."""
    begin = datetime(day.year, day.month, day.day).astimezone().astimezone(UTC).isoformat(timespec="milliseconds")
    low, high = 0, last_event(connection)
    while low < high:  # low: before; the event after high: not
        middle = (low + high + 1) // 2
        row = connection.execute("SELECT at FROM event WHERE id >= ? ORDER BY id LIMIT 1", (middle,)).fetchone()
        if row is not None and row[0] < begin:
            low = middle
        else:
            high = middle - 1
    return low
