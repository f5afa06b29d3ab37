"""What people did, from the events of the store: their looks, what stood before each, and how fast they are.

A **look** is a person's decision on an image that is not undone, on whichever day it was made. Labels that came with
the images (`add`) are none. Legend: L looks, N images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.dataset as parquet

from semisonic.daily.facts import PAUSE
from semisonic.daily.store import NONE, PERSON, Store
from semisonic.daily.store.events import select, undone

Labels = tuple[np.ndarray, np.ndarray]
"""(image ids [N], ascending; class ids [N])"""


@dataclass(frozen=True, eq=False)
class Looks:
    """In the order of their events."""

    event: np.ndarray
    """int64 [L], as the next four."""
    image: np.ndarray
    state: np.ndarray
    meant: np.ndarray
    """The class that the person named, as what it became since; `NONE` where the look ended otherwise."""
    said: np.ndarray
    """The class that stood before, of the network or a person; `NONE`: none did."""
    by_network: np.ndarray
    """bool: that it was the network's."""
    day: np.ndarray
    queue: np.ndarray
    """Of str: where the person looked."""
    who: np.ndarray
    """Of str."""
    seconds: np.ndarray
    """float64: since 1970."""

    def __len__(self) -> int:
        return len(self.event)

    @property
    def decided(self) -> np.ndarray:
        """bool: those that named a class."""
        return self.meant != NONE

    @property
    def compared(self) -> np.ndarray:
        return self.decided & (self.said != NONE)

    @property
    def corrected(self) -> np.ndarray:
        return self.compared & (self.said != self.meant)


def looks(store: Store, auto: Path) -> Looks:
    """All looks of a project. auto: its folder of auto-labels."""
    connection = store.connection
    out = undone(select(connection, "kind = 'undo'"))
    rows = connection.execute(
        "SELECT id, image, coalesce(state, 0), coalesce(class, -1), coalesce(previous, 0), "
        "coalesce(CASE source WHEN 'page:accept' THEN json_extract(details, '$.queue') END, source), who, at "
        "FROM event WHERE kind = 'label' AND source <> 'add' ORDER BY id"
    ).fetchall()
    rows = [row for row in rows if row[0] not in out]
    event, image, state, meant, previous = (np.array([row[at] for row in rows], np.int64) for at in range(5))
    seconds = np.array([moment(row[7]) for row in rows], np.float64)
    meant = np.where(np.isin(state, sorted(PERSON)), meant, NONE)
    said, network = _said(store, event, image, previous, lambda run: labels_of(auto, run))
    became = {row.id: store.resolve(row.id) for row in store.classes(all=True)}
    targets = np.full(max(became, default=0) + 2, NONE, np.int64)  # the last one is that of no class
    for number, target in became.items():
        targets[number] = NONE if target is None else target
    queue = np.array([row[5].removeprefix("page:") for row in rows], object)
    who = np.array([row[6] for row in rows], object)
    return Looks(
        event, image, state, targets[meant], targets[said], network, day_of(first_events(store), event), queue, who,
        seconds,
    )  # fmt: skip


def _said(
    store: Store, event: np.ndarray, image: np.ndarray, previous: np.ndarray, labels: Callable[[str], Labels]
) -> tuple[np.ndarray, np.ndarray]:
    """For each look the class that stood before, and whether it was the network's: that of a person before, or else
    of the run whose labels were current."""
    said = np.full(len(event), NONE, np.int64)
    before = {
        number: label
        for number, state, label in store.connection.execute(
            "SELECT id, state, class FROM event WHERE image IS NOT NULL AND class IS NOT NULL AND id IN "
            "(SELECT previous FROM event WHERE kind = 'label' AND previous IS NOT NULL)"
        )
        if state in PERSON
    }
    for at, number in enumerate(previous.tolist()):
        said[at] = before.get(number, NONE)
    free = said == NONE
    network = np.zeros(len(event), bool)
    autos = store.connection.execute("SELECT id, run FROM event WHERE kind = 'auto' ORDER BY id").fetchall()
    which = np.searchsorted([number for number, _ in autos], event) - 1
    for at, (_, run) in enumerate(autos):
        here = np.flatnonzero(free & (which == at))
        if len(here):
            ids, classes = labels(run)
            said[here] = look_up(ids, classes, image[here])
            network[here] = said[here] != NONE
    return said, network


def look_up(ids_N: np.ndarray, values_N: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted id, `NONE` where it is not among the ids, which ascend."""
    if not len(ids_N):
        return np.full(len(wanted), NONE, np.int64)
    place = np.minimum(np.searchsorted(ids_N, wanted), len(ids_N) - 1)
    return np.where(ids_N[place] == wanted, values_N[place], NONE)


def labels_of(auto: Path, run: str) -> Labels:
    """The auto-labels of a run; none where its files are gone."""
    files = sorted((auto / run).glob("part-*.parquet"))
    if not files:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    table = parquet.dataset(files).to_table(["image", "top1"])
    image, label = (table[name].to_numpy().astype(np.int64) for name in ("image", "top1"))
    order = np.argsort(image, kind="stable")
    return image[order], label[order]


def moment(at: str) -> float:
    """Seconds since 1970 of a time of an event."""
    found = datetime.fromisoformat(at)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def first_events(store: Store) -> dict[int, int]:
    """Day -> the number that its first event has or would have; days in their order."""
    rows = store.connection.execute("SELECT number, last_event + 1 FROM day ORDER BY number").fetchall()
    return {int(number): int(first) for number, first in rows}


def day_of(first: dict[int, int], events: np.ndarray) -> np.ndarray:
    """The day that was current at each event; first: see `first_events`."""
    place = np.searchsorted(list(first.values()), events, side="right") - 1
    return np.array(list(first), np.int64)[np.maximum(place, 0)]


def per_minute(seconds: np.ndarray) -> float | None:
    """How fast a person looks, from the times of their looks; pauses are left out. None where
    that cannot be told."""
    gaps = np.diff(np.sort(seconds))
    gaps = gaps[gaps < PAUSE]
    return None if len(gaps) < 5 or gaps.sum() <= 1 else float(60 * len(gaps) / gaps.sum())
