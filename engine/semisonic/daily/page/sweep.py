"""The sweep: the nearest images without a person's label of one image, in the features of the newest day.

An index of many images is built in the background. Without faiss, a search looks at all of them.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from semisonic.daily.store import PERSON, State, Store
from semisonic.daily.store.queues import AUDIT
from semisonic.schema import UserError

EXACT = 100_000
"""Images up to which a search that looks at all of them is quick."""
if TYPE_CHECKING:
    from semisonic.curation.neighbors import Index

_OPEN = tuple(state for state in State if state not in (*PERSON, State.REJECTED, State.UNSURE))


class Features(NamedTuple):
    """One file of features, and what a search needs beside it."""

    file: Path
    changed: int
    ids_N: np.ndarray
    """int64, ascending: the image of each row."""
    search: "Index"
    building: threading.Thread
    open_N: np.ndarray
    """bool: without a person's answer, as of `event`."""
    event: list[int]
    """One number: the newest event that `open_N` knows."""


class Sweep:
    """For any number of threads; `store` is the calling thread's."""

    def __init__(self, folder: Path) -> None:
        """folder: of the features, `day-NNN.npy` with `day-NNN.ids.npy`, or `pixels.npy`."""
        self._folder = folder
        self._features: Features | None = None
        self._changing = threading.Lock()

    @property
    def possible(self) -> bool:
        """Whether there are features to search in."""
        return newest(self._folder) is not None

    def prepare(self, store: Store) -> None:
        """Reads the newest features and begins to build their index, before anyone asks."""
        if self.possible:
            with self._changing:
                self._newest(store)

    def neighbors(self, store: Store, image: int, count: int) -> tuple[np.ndarray, bool]:
        """(ids of the nearest images, the nearest first; whether all were looked at). Those that wait in the audit are
        not among them. Raises `UserError`."""
        with self._changing:
            features = self._newest(store)
            _follow(features, store)
            allowed_N = features.open_N.copy()
        allowed_N[_rows(features.ids_N, store.queue(AUDIT))] = False
        if not len(own := _rows(features.ids_N, np.array([image]))):
            raise UserError(f"image {image} has no features yet: they are made by `choose` and `label`")
        if features.building.is_alive() and features.search.notice is None and len(features.search) > EXACT:
            raise UserError(f"the index of {len(features.search):,} images is being built; try again in a minute")
        exact = features.search.exact
        rows, _ = features.search.nearest(int(own[0]), count, allowed_N)
        return features.ids_N[rows], exact

    def _newest(self, store: Store) -> Features:
        file = newest(self._folder)
        if file is None:
            raise UserError("there are no features to find neighbors in: they are made by `choose` and `label`")
        changed = file.stat().st_mtime_ns
        if self._features is None or (self._features.file, self._features.changed) != (file, changed):
            self._features = _read(file, changed, store)
            self._features.building.start()
        return self._features


def newest(folder: Path) -> Path | None:
    """The features of the newest day; of pixels where no network has made any."""
    days = sorted(folder.glob("day-*.npy"), reverse=True)
    files = [file for file in (*days, folder / "pixels.npy") if not file.name.endswith(".ids.npy")]
    return next((file for file in files if file.exists() and file.with_suffix(".ids.npy").exists()), None)


def _read(file: Path, changed: int, store: Store) -> Features:
    from semisonic.curation.neighbors import Index  # with scikit-learn, which takes longer than the page to start

    ids_N = np.load(file.with_suffix(".ids.npy"))
    features_ND = np.load(file, mmap_mode="r")
    if len(ids_N) != len(features_ND):
        numbers = f"{len(features_ND):,} rows and numbers of {len(ids_N):,} images"
        raise UserError(f"{file} has {numbers}; run `label` again")
    event = store.last_event
    now = store.current()
    known = np.searchsorted(now.image, ids_N)
    known[known == len(now.image)] = 0
    open_N = np.isin(now.state[known], _OPEN) & (now.image[known] == ids_N)
    search = Index(features_ND)
    building = threading.Thread(target=search.build, name="index", daemon=True)
    return Features(file, changed, ids_N, search, building, open_N, [event])


def _rows(ids_N: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The rows of those images that have one; `ids_N` ascends."""
    rows = np.searchsorted(ids_N, images)
    rows[rows == len(ids_N)] = 0
    return rows[ids_N[rows] == images] if len(ids_N) else rows[:0]


def _follow(features: Features, store: Store) -> None:
    """Brings `open_N` up to date with what was answered since."""
    newest_event = store.last_event
    rows = store.connection.execute(
        "SELECT image, state FROM now WHERE image IN "
        "(SELECT image FROM event WHERE id > ? AND id <= ? AND image IS NOT NULL)",
        (features.event[0], newest_event),
    ).fetchall()
    for image, state in rows:
        features.open_N[_rows(features.ids_N, np.array([image]))] = state in _OPEN
    features.event[0] = newest_event
