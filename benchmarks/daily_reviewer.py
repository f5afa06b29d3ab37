"""A person who reads the truth, for a simulated labeling project: answers what the queues ask, and adds new classes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from semisonic.daily.store import Change, State, Store

Truth = Callable[[int], str]
"""The class of an image, by its number in the store."""


@dataclass
class Reviewer:
    """Who looks at images, and what came of it."""

    name: str
    truth: Truth
    looks: int = 0
    wrong: int = 0
    """Auto-labels that were put right."""
    events: list[int] = field(default_factory=list)
    """Of the last `look`."""

    def look(self, store: Store, images: Iterable[int], source: str, guess_shown: bool) -> list[int]:
        """Labels images; returns those that were looked at."""
        asked = [int(image) for image in images]
        for name in sorted({self.truth(image) for image in asked}):
            if store.class_named(name) is None:
                store.add_class(name, self.name)
        now = store.current()
        place = np.searchsorted(now.image, asked)
        state = State.REVIEWED if guess_shown else State.GIVEN
        changes = []
        for image, row in zip(asked, place.tolist(), strict=True):
            found = store.class_named(self.truth(image))
            assert found is not None
            self.wrong += now.state[row] in (State.AUTO, State.ACCEPTED) and now.class_id[row] != found.id
            changes.append(Change(image, state, found.id, int(now.event[row])))
        self.events = store.record(changes, self.name, source)
        self.looks += len(asked)
        return asked


def without_label(store: Store, images: Sequence[int] | np.ndarray) -> np.ndarray:
    """Those of some images that no person has labeled."""
    now = store.current()
    row = np.searchsorted(now.image, images)
    free = np.isin(now.state[row], (State.UNLABELED, State.AUTO, State.ACCEPTED))
    return np.asarray(images)[free]
