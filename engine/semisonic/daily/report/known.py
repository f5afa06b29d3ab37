"""What all parts of a report read of a project, once and of one moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from semisonic.daily.report.history import Looks, first_events, looks
from semisonic.daily.store import PERSON, ClassRow, Current, Scores, State, Store
from semisonic.daily.store.database import snapshot

if TYPE_CHECKING:
    from semisonic.daily.project import Project

NETWORK = (State.AUTO, State.ACCEPTED)


@dataclass(frozen=True, eq=False)
class Known:
    """Arrays of the whole project are in the order of the images' numbers."""

    project: "Project"
    store: Store
    day: int
    current: Current
    scores: Scores
    classes: list[ClassRow]
    """All there ever were."""
    looks: Looks
    first: dict[int, int]
    """Day -> its first event."""
    run: str | None
    """Whose labels are current."""

    @cached_property
    def names(self) -> dict[int, str]:
        return {row.id: row.name for row in self.classes}

    @cached_property
    def became(self) -> dict[int, int]:
        """What each class that was ever there is by now; those that are retired are not in it."""
        found = {row.id: self.store.resolve(row.id) for row in self.classes}
        return {number: target for number, target in found.items() if target is not None}

    @cached_property
    def by_person(self) -> np.ndarray:
        """bool: the image has a label of a person."""
        return np.isin(self.current.state, sorted(PERSON))

    @cached_property
    def by_network(self) -> np.ndarray:
        return np.isin(self.current.state, NETWORK)

    @cached_property
    def today(self) -> np.ndarray:
        """bool: the image is one of the day."""
        return self.current.day == self.day

    @cached_property
    def days_of_runs(self) -> dict[str, int]:
        """Each run that has a training set, in the order in which they began, and the day that it is of."""
        return dict(self.store.connection.execute("SELECT run, day FROM revision ORDER BY number").fetchall())

    @cached_property
    def waiting(self) -> dict[str, int]:
        """By queue, how many images wait in it."""
        return dict(self.store.connection.execute("SELECT name, count(*) FROM queue GROUP BY name").fetchall())

    def place(self, images: np.ndarray) -> np.ndarray:
        """Places of images, all of which are there, in arrays of the whole project."""
        return np.searchsorted(self.current.image, images)


@contextmanager
def reading(project: "Project") -> Iterator[Known]:
    """All that is read inside is of one moment, while others go on to label."""
    with project.store() as store, snapshot(store.connection):
        yield Known(
            project, store, store.day, store.current(), store.scores(), store.classes(all=True),
            looks(store, project.auto), first_events(store), store.run,
        )  # fmt: skip
