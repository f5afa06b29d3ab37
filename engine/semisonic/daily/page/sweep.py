"""The sweep: the nearest images without a person's label of one image, in the features of the newest run.

An index of many images is built in the background; until it is there, the features before them are searched, if there
are any. Without faiss, a search looks at all images.
"""

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semisonic.daily.passes import arrays
from semisonic.daily.store import LOOKED, State, Store
from semisonic.daily.store.queues import AUDIT
from semisonic.schema import UserError

if TYPE_CHECKING:
    from semisonic.curation.neighbors import Index

EXACT = 100_000
"""Images up to which a search that looks at all of them is quick."""
OTHERS = ("init", "pixels")
"""Features where there are none of a run."""
_OPEN = tuple(state for state in State if state not in LOOKED)


class Space(NamedTuple):
    """Features of one network, and when they were written."""

    name: str
    changed: int


class Searched(NamedTuple):
    """What a search needs."""

    space: Space
    ids_N: np.ndarray
    """int64, ascending: the image of each row."""
    search: "Index"
    open_N: np.ndarray
    """bool: nobody has decided the image, as of `event`."""
    event: list[int]
    """One number: the newest event that `open_N` knows."""


class Sweep:
    """For any number of threads; `store` is the calling thread's."""

    def __init__(self, folder: Path) -> None:
        """folder: of the features, as `passes.arrays` keeps them."""
        self._folder = folder
        self._searched: Searched | None = None
        self._building: threading.Thread | None = None
        self._changing = threading.Lock()

    @property
    def possible(self) -> bool:
        """Whether there are features to search in."""
        return newest(self._folder) is not None

    def prepare(self, store: Store) -> None:
        """Reads the newest features, or begins to build their index, before anyone asks."""
        with self._changing:
            self._renew(store)

    def neighbors(self, store: Store, image: int, count: int) -> tuple[np.ndarray, bool]:
        """(ids of the nearest images, the nearest first; whether all were looked at). Those that wait in the audit are
        not among them, and have none that are told, since what is said of these tells what they may be. Raises
        `UserError`."""
        audited = store.queue(AUDIT)
        if image in audited:
            raise UserError(f"image {image} waits in the audit, where each is looked at alone: it has no sweep yet")
        with self._changing:
            self._renew(store)
            if (searched := self._searched) is None:
                raise UserError(
                    "the index of the newest features is being built; try again in a minute"
                    if self.possible
                    else "there are no features to find neighbors in: they are made by `choose` and `label`"
                )
            _follow(searched, store)
            allowed_N = searched.open_N.copy()
        allowed_N[_rows(searched.ids_N, audited)] = False
        if not len(own := _rows(searched.ids_N, np.array([image]))):
            raise UserError(f"image {image} has no features yet: they are made by `choose` and `label`")
        rows, _ = searched.search.nearest(int(own[0]), count, allowed_N)
        return searched.ids_N[rows], searched.search.exact

    def _renew(self, store: Store) -> None:
        """Takes up the newest features: at once, or in a thread where an index of them is to be built."""
        space = newest(self._folder)
        known = self._searched.space if self._searched else None
        if space in (None, known) or (self._building is not None and self._building.is_alive()):
            return
        assert space is not None
        if (found := _read(self._folder, space, store)) is None:
            return  # they are just being replaced
        if len(found.search) <= EXACT or found.search.notice:
            self._searched = found
        else:
            self._building = threading.Thread(target=self._build, args=(found,), name="index", daemon=True)
            self._building.start()

    def _build(self, found: Searched) -> None:
        found.search.build()
        with self._changing:
            self._searched = found


def newest(folder: Path) -> Space | None:
    """The features of the newest run that has any, or else the others."""
    runs = {}
    for file in folder.glob("day-*.json"):
        if match := re.fullmatch(r"day-(\d+)(?:-(\d+))?", file.stem):
            runs[int(match[1]), int(match[2] or 1)] = file
    files = [*(runs[key] for key in sorted(runs, reverse=True)), *(folder / f"{name}.json" for name in OTHERS)]
    for file in files:
        try:
            return Space(file.stem, file.stat().st_mtime_ns)
        except FileNotFoundError:
            continue
    return None


def _read(folder: Path, space: Space, store: Store) -> Searched | None:
    from semisonic.curation.neighbors import Index  # with scikit-learn, which takes longer than the page to start

    features = arrays.read(folder, space.name)
    if features is None or not len(features.ids):
        return None
    event = store.last_event
    now = store.current()
    known = np.searchsorted(now.image, features.ids).clip(max=len(now.image) - 1)
    open_N = np.isin(now.state[known], _OPEN) & (now.image[known] == features.ids)
    return Searched(space, features.ids, Index(features.rows), open_N, [event])


def _rows(ids_N: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The rows of those images that have one; `ids_N` ascends."""
    rows = np.searchsorted(ids_N, images)
    rows[rows == len(ids_N)] = 0
    return rows[ids_N[rows] == images] if len(ids_N) else rows[:0]


def _follow(searched: Searched, store: Store) -> None:
    """Brings `open_N` up to date with what was answered since."""
    newest_event = store.last_event
    rows = store.connection.execute(
        "SELECT image, state FROM now WHERE image IN "
        "(SELECT image FROM event WHERE id > ? AND id <= ? AND image IS NOT NULL)",
        (searched.event[0], newest_event),
    ).fetchall()
    for image, state in rows:
        searched.open_N[_rows(searched.ids_N, np.array([image]))] = state in _OPEN
    searched.event[0] = newest_event
