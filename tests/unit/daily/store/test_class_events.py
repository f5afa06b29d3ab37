"""Changes of classes, and what becomes of labels: counted for another class, or for none until somebody looks again."""

from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State, Store
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store

CAT, DOG, OWL = 1, 2, 3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Image 1 is a cat, 2 and 3 are dogs by persons; 4 is an owl and 5 a dog by a run."""
    store = new_store(tmp_path, 5)
    labels = [(1, CAT), (2, DOG), (3, DOG)]
    store.record([Change(image, State.GIVEN, label, None) for image, label in labels], WHO, "page:free")
    store.take_over("day-001", [batch([CAT, CAT, CAT, OWL, DOG])], WHO)
    return store


def classes_of(store: Store) -> list[int]:
    assert store.check() == []
    return store.current().class_id.tolist()


def test_a_merge_counts_for_persons_and_runs(store: Store):
    event = store.merge_classes("dog", "owl", WHO)
    assert classes_of(store) == [1, 3, 3, 3, 3] and store.queue("second-look").tolist() == [2, 3]
    assert store.scores().class_id.tolist() == [1, 1, 1, 3, 3]
    assert [row.name for row in store.classes()] == ["cat", "owl"]
    assert [row.status for row in store.classes(all=True)] == ["active", "merged", "active"]
    (undone,) = store.undo([event], "bob")
    assert classes_of(store) == [1, 2, 2, 3, 2] and store.queue("second-look").tolist() == []
    store.undo([undone], WHO)
    assert classes_of(store) == [1, 3, 3, 3, 3] and store.queue("second-look").tolist() == [2, 3]


def test_labels_of_a_retired_class_count_no_more(store: Store):
    event = store.retire_class("dog", WHO)
    assert classes_of(store) == [1, 1, 1, 3, -1]
    assert store.current().state.tolist() == [State.GIVEN, State.AUTO, State.AUTO, State.AUTO, State.UNLABELED]
    assert store.queue("second-look").tolist() == [2, 3]
    store.record([Change(2, State.REVIEWED, CAT, store.current().event[1])], WHO, "page:second-look")
    assert store.queue("second-look").tolist() == [3]
    store.undo([event], WHO)
    assert classes_of(store) == [1, 1, 2, 3, 2]
    assert store.current().state.tolist() == [State.GIVEN, State.REVIEWED, State.GIVEN, State.AUTO, State.AUTO]


def test_a_split_asks_for_its_labels_anew(store: Store):
    event = store.split_class("dog", ["dog", "wolf"], WHO)
    assert [(row.id, row.name) for row in store.classes()] == [(1, "cat"), (3, "owl"), (4, "dog"), (5, "wolf")]
    assert classes_of(store) == [1, 1, 1, 3, -1] and store.queue("second-look").tolist() == [2, 3]
    store.record([Change(2, State.GIVEN, 5, store.current().event[1])], WHO, "page:second-look")
    store.undo([event], WHO)
    assert classes_of(store) == [1, 1, 2, 3, 2], "wolf is none any more"
    assert store.resolve(5) is None


def test_labels_of_the_parts_of_a_split_that_is_undone_are_looked_at_again(store: Store):
    split = store.split_class("dog", ["dog", "wolf"], WHO)
    wolf = store.class_named("wolf").id
    store.record([Change(3, State.GIVEN, wolf, ANY)], WHO, "page:free")
    store.empty_queue("second-look")
    (undone,) = store.undo([split], WHO)
    assert store.now_of(3).state not in (State.GIVEN, State.REVIEWED) and store.queue("second-look").tolist() == [3]
    (redone,) = store.undo([undone], WHO)
    assert store.now_of(3)[1:3] == (State.GIVEN, wolf) and 3 not in store.queue("second-look")
    store.undo([redone], WHO)
    assert store.queue("second-look").tolist() == [3] and store.check(files=False) == []


def test_a_new_name_changes_no_label(store: Store):
    store.rename_class("dog", "hound", WHO)
    assert classes_of(store) == [1, 2, 2, 3, 2] and len(store.queue("second-look")) == 0
    assert store.class_named("hound").id == DOG


def test_what_cannot_be_changes_nothing(store: Store):
    before = store.last_event
    for change, line in (
        (lambda: store.add_classes(["newt", "cat"], WHO), "there is a class cat already; each has a name of its own"),
        (lambda: store.rename_class("dog", " dog", WHO), "dog is called so already"),
        (lambda: store.rename_class("dog", "cat", WHO), "there is a class cat already; each has a name of its own"),
        (lambda: store.merge_classes("dog", "dog", WHO), "dog cannot be merged into itself"),
        (lambda: store.split_class("dog", ["wolf"], WHO), "dog is to be split into 1 classes; at least 2 are needed"),
        (lambda: store.retire_class("newt", WHO), "there is no class newt; the classes are cat, dog, owl"),
    ):
        with pytest.raises(UserError) as caught:
            change()
        assert caught.value.messages == [f"classes: {line}"] and store.last_event == before


def test_what_later_changes_build_on_is_not_undone(store: Store):
    event = store.rename_class("dog", "hound", WHO)
    store.add_class("dog", WHO)
    with pytest.raises(UserError) as caught:
        store.undo([event], WHO)
    assert caught.value.messages == [
        f"event {event} cannot be undone: event {event + 1} (add) builds on it: there is a class dog already; "
        "undo that first"
    ]
    assert classes_of(store) == [1, 2, 2, 3, 2]
    store.undo([event + 1, event], WHO)
    assert [row.name for row in store.classes()] == ["cat", "dog", "owl"]


def test_who_keeps_a_copy_of_the_classes_is_told(store: Store):
    told: list[list[str]] = []
    store.on_classes = lambda: told.append([row.name for row in store.classes()])
    store.undo([store.retire_class("owl", WHO)], WHO)
    store.add_class("newt", WHO)
    assert told == [["cat", "dog"], ["cat", "dog", "owl"], ["cat", "dog", "owl", "newt"]]
