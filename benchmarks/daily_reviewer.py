"""A person who reads the truth, for a simulated labeling project: answers what the queues ask, and adds new classes."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from semisonic.daily.store import Change, State, Store

Truth = Callable[[int], str]
"""The class of an image, by its number in the store."""
BY_NETWORK = (State.AUTO, State.ACCEPTED)


class Reviewer:
    """Who looks at images, and what came of it."""

    def __init__(self, name: str, truth: Truth):
        self.name, self.truth = name, truth
        self.looks = self.wrong = 0
        """`wrong`: auto-labels that were put right."""
        self.events: list[int] = []
        """Of the last `look`."""

    def look(self, store: Store, images: Iterable[int], source: str, guess_shown: bool) -> None:
        """Labels images, and adds the classes that the project has not."""
        asked = [int(image) for image in images]
        known = {row.name for row in store.classes()}
        if new := sorted({self.truth(image) for image in asked} - known):
            store.add_classes(new, self.name)
        numbers = {row.name: row.id for row in store.classes()}
        now = store.current()
        state = State.REVIEWED if guess_shown else State.GIVEN
        changes = []
        for image, row in zip(asked, np.searchsorted(now.image, asked).tolist(), strict=True):
            class_id = numbers[self.truth(image)]
            self.wrong += bool(now.state[row] in BY_NETWORK and now.class_id[row] != class_id)
            changes.append(Change(image, state, class_id, int(now.event[row])))
        self.events = store.record(changes, self.name, source)
        self.looks += len(asked)


def unlabeled(store: Store, images: Sequence[int] | np.ndarray) -> np.ndarray:
    """Those of some images that no person has labeled."""
    now = store.current()
    row = np.searchsorted(now.image, images)
    return np.asarray(images)[np.isin(now.state[row], (State.UNLABELED, *BY_NETWORK))]
