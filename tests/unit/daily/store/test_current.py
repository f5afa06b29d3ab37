"""What stands is what the events make, after any sequence of labels, undoings, classes, runs and acceptances."""

import random
from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.store import ANY, LOOKED, NONE, PERSON, Change, State, Store
from semisonic.daily.store.classes import history
from semisonic.daily.store.events import select, undone
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_image, new_store

PEOPLE = (WHO, "bob", "eve")


class Person:
    """Does what comes to its mind, within what can be done."""

    def __init__(self, folder: Path, seed: int):
        self.rng = random.Random(seed)
        self.folder = folder
        self.store = new_store(folder, 8, labeled=2)
        self.names = 0
        self.refused = 0

    def act(self) -> None:
        doing = self.rng.choices(
            [self.label, self.undo, self.undo_last, self.classes, self.run, self.accept, self.add, self.audit],
            [12, 8, 3, 5, 1, 2, 1, 1],
        )[0]
        try:
            doing()
        except UserError:
            self.refused += 1

    @property
    def who(self) -> str:
        return self.rng.choice(PEOPLE)

    def image(self) -> int:
        return self.rng.randint(1, len(self.store.current()))

    def label(self) -> None:
        rows = self.store.classes(all=True)
        changes = []
        for _ in range(self.rng.randint(1, 3)):
            state = self.rng.choice([*LOOKED, State.UNLABELED])
            label = self.rng.choice(rows).id if state in PERSON else None
            changes.append(Change(self.image(), state, label, ANY))
        self.store.record(changes, self.who, "page:audit")

    def undo(self) -> None:
        self.store.undo([self.rng.randint(1, self.store.last_event) for _ in range(self.rng.randint(1, 2))], self.who)

    def undo_last(self) -> None:
        self.store.undo_last(self.who, self.rng.randint(1, 4))

    def classes(self) -> None:
        names = [row.name for row in self.store.classes()]
        self.names += 1
        match self.rng.randint(1, 6) if len(names) > 1 else 1:
            case 1 | 2:
                self.store.add_class(f"new {self.names}", self.who)
            case 3:
                self.store.rename_class(
                    self.rng.choice(names), self.rng.choice([f"name {self.names}", "cat"]), self.who
                )
            case 4:
                self.store.merge_classes(self.rng.choice(names), self.rng.choice(names), self.who)
            case 5:
                name = self.rng.choice(names)
                self.store.split_class(name, [name, f"part {self.names}"], self.who)
            case 6 if len(names) > 2:
                self.store.retire_class(self.rng.choice(names), self.who)

    def run(self) -> None:
        numbers = [row.id for row in self.store.classes(all=True)]
        images = self.rng.sample(range(1, len(self.store.current()) + 1), 6)
        labels = [self.rng.choice(numbers) for _ in images]
        self.store.take_over(f"run {self.store.last_event}", [batch(labels, images)], self.who)

    def accept(self) -> None:
        chosen = np.array([self.image() for _ in range(4)])
        self.store.accept(chosen, self.store.run or "none", self.who, {"at least": 0.9})

    def add(self) -> None:
        name = f"{self.rng.randint(1, 14)}.png"
        label = self.rng.choice([None, *(row.name for row in self.store.classes())])
        self.store.add_images([new_image(self.folder / "images", name, label)], self.who)

    def audit(self) -> None:
        if self.rng.random() < 0.5:
            rows = [(image, 0, 1, 0.5) for image in {self.image(), self.image()}]
            self.store.new_audit("run", 1, "simple", 0, 8, {}, rows)
        else:
            self.store.put_queue("farthest", [self.image()], 1)


def standing(store: Store) -> dict[int, tuple[int, int | None]]:
    """State and class of what persons have said, by the newest label of each image that is not undone."""
    found = {}
    for image in store.current().image.tolist():
        events = select(store.connection, "image = ? ORDER BY id", (image,))
        out = undone(events)
        labels = [event for event in events if event.kind == "label" and event.id not in out]
        found[image] = (labels[-1].state or 0, store.resolve(labels[-1].class_id)) if labels else (0, None)
    return found


def check(store: Store) -> None:
    made, now = store.rebuild(), store.current()
    for name in ("image", "day", "state", "class_id", "event"):
        np.testing.assert_array_equal(getattr(now, name), getattr(made.now, name), name)
    said = standing(store)
    for image, state, label in zip(now.image.tolist(), now.state.tolist(), now.class_id.tolist(), strict=True):
        own, own_class = said[image]
        if own in PERSON and own_class is not None:
            assert (state, label) == (own, own_class)
        elif own in LOOKED - PERSON:
            assert (state, label) == (own, NONE)
        else:
            assert state in (State.UNLABELED, State.AUTO, State.ACCEPTED)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 40))])  # fmt: skip
def test_any_sequence(tmp_path: Path, seed: int):
    person = Person(tmp_path, seed)
    for number in range(150):
        person.act()
        if number % 5 == 0:
            check(person.store)
    check(person.store)
    assert person.store.check() == []
    assert {event.kind for event in history(person.store.connection)} >= {"class", "undo"} and 0 < person.refused < 100


def test_all_that_is_current_is_arrays_by_number(tmp_path: Path):
    store = new_store(tmp_path, 3, labeled=1)
    now = store.current()
    assert [getattr(now, name).tolist() for name in ("image", "day", "state", "class_id", "event")] == [
        [1, 2, 3], [1, 1, 1], [3, 0, 0], [1, -1, -1], [4, 0, 0],
    ]  # fmt: skip
    assert len(store.scores()) == 0 and store.scores().run is None and len(new_store(tmp_path / "b").current()) == 0
