"""What the page does ahead of its reviewers: thumbnails of the queues' images, the index of the newest features, and
the count of all images that nobody has decided, which takes longer the more there are."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from semisonic.daily.page.pictures import source_of
from semisonic.daily.page.sweep import Sweep
from semisonic.daily.page.thumbnails import NoPicture, Thumbnails
from semisonic.daily.project import Project
from semisonic.daily.store import State, Store
from semisonic.schema import UserError

EVERY = 10.0
"""Seconds between two looks at what others have changed."""
QUICK = 0.002
"""Seconds of a count that is made anew whenever it is asked for."""
MOST = 5000
"""Images of each queue whose thumbnails are made ahead."""
_OPEN = (State.UNLABELED, State.AUTO, State.ACCEPTED)


class Ahead:
    """A thread of its own; `start` begins it."""

    def __init__(self, project: Project, thumbnails: Thumbnails, sweep: Sweep) -> None:
        self._undecided = 0
        self._took = 0.0
        """Seconds that the last count took."""
        self._project = project
        self._thumbnails = thumbnails
        self._sweep = sweep
        self._ended = threading.Event()
        self._tried: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def start(self, store: Store) -> None:
        self._count(store)
        self._thread.start()

    def undecided(self, store: Store) -> int:
        """Images that nobody has decided; where there are many, as of a moment ago."""
        if self._took < QUICK:
            self._count(store)
        return self._undecided

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        with self._project.store() as store:
            seen = None
            while True:
                # It is another number whenever another connection has changed the file.
                (version,) = store.connection.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    try:
                        self._count(store)
                        self._draw(store)
                        self._sweep.prepare(store)
                    except UserError:
                        seen = None  # whoever asks for something is told; here there is another try
                if self._ended.wait(EVERY):
                    return

    def _count(self, store: Store) -> None:
        sql = f"SELECT count(*) FROM now WHERE state IN ({', '.join(str(int(state)) for state in _OPEN)})"
        began = time.monotonic()
        self._undecided = store.connection.execute(sql).fetchone()[0]
        self._took = time.monotonic() - began

    def _draw(self, store: Store) -> None:
        for image in self._queued(store.connection):
            if self._ended.is_set():
                return
            self._tried.add(image)
            source = source_of(store.connection, image)
            if source is not None and not self._thumbnails.has(source.hash):
                with suppress(NoPicture):  # whoever asks for it is told
                    self._thumbnails.thumbnail(source)

    def _queued(self, connection: Any) -> Iterator[int]:
        names = [row[0] for row in connection.execute("SELECT DISTINCT name FROM queue").fetchall()]
        for name in names:
            sql = "SELECT image FROM queue WHERE name = ? ORDER BY position, image LIMIT ?"
            rows = connection.execute(sql, (name, MOST)).fetchall()
            yield from (row[0] for row in rows if row[0] not in self._tried)
