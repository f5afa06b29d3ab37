"""Undoing: any number of times, of undoings too, and never past what somebody else has said since."""

from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State, Store
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store

CAT, DOG = 1, 2


def say(store: Store, image: int, label: int, who: str = WHO) -> int:
    return store.record([Change(image, State.GIVEN, label, ANY)], who, "page:free")[0]


def test_it_restores_what_stood_before_any_number_of_times(tmp_path: Path):
    store = new_store(tmp_path, 1)
    first, second = say(store, 1, CAT), say(store, 1, DOG)
    (a,) = store.undo([second], WHO)
    assert store.now_of(1) == (a, State.GIVEN, CAT, WHO)
    (b,) = store.undo([first], WHO)
    assert store.now_of(1) == (b, State.UNLABELED, None, WHO)
    store.undo([b], WHO)
    assert store.now_of(1)[2] == CAT  # type: ignore[index]
    store.undo([a], WHO)
    assert store.now_of(1)[2] == DOG and store.check() == []  # type: ignore[index]


def test_the_label_of_a_run_stands_again(tmp_path: Path):
    store = new_store(tmp_path, 2)
    event = say(store, 1, CAT)
    store.take_over("day-001", [batch([DOG, DOG])], WHO)
    store.undo([event], WHO)
    assert store.current().state.tolist() == [State.AUTO, State.AUTO]


def test_what_does_not_stand_is_refused(tmp_path: Path):
    store = new_store(tmp_path, 1)
    first, second = say(store, 1, CAT), say(store, 1, DOG, "bob")
    run = store.take_over("day-001", [batch([DOG])], WHO)
    (undone,) = store.undo([second], WHO)
    for number, line in (
        (99, "event 99: there is none of this number"),
        (run, f"event {run}: of its kind (auto) none can be undone"),
        (second, f"event {second}: it is undone already, by event {undone} of ann; undo that to redo it"),
    ):
        with pytest.raises(UserError) as caught:
            store.undo([number], WHO)
        assert caught.value.messages == [line]
    store.undo([undone], WHO)
    with pytest.raises(UserError) as caught:
        store.undo([first], WHO)
    assert caught.value.messages == [
        f"event {first}: it does not stand for image 1 any more, event {second} of bob does; undo that first"
    ]
    with pytest.raises(UserError):
        store.undo([second, first, 99], WHO)
    assert store.now_of(1)[2] == DOG, "all or none"  # type: ignore[index]


def test_the_last_ones_of_a_person(tmp_path: Path):
    store = new_store(tmp_path, 6, labeled=1)
    since = store.last_event
    for image in (2, 3, 4, 5):
        say(store, image, CAT)
    say(store, 3, DOG, "bob")
    assert len(store.undo_last(WHO, 2)) == 2
    assert store.current().class_id.tolist() == [CAT, CAT, DOG, -1, -1, -1]
    assert len(store.undo_last(WHO, 9, since)) == 1, "image 3 is bob's, and 1 was labeled before"
    assert store.undo_last("eve", 3) == []
    assert store.current().class_id.tolist() == [CAT, -1, DOG, -1, -1, -1] and store.check() == []


def test_one_that_is_sent_twice_is_one(tmp_path: Path):
    store = new_store(tmp_path, 3)
    events = [say(store, image, CAT) for image in (1, 2, 3)]
    assert store.undo([events[0]], WHO, ["u1"]) == store.undo([events[0]], WHO, ["u1"])
    assert store.undo_last(WHO, 1, key="u2") == store.undo_last(WHO, 1, key="u2")
    assert store.current().class_id.tolist() == [-1, CAT, -1]


def test_an_acceptance_is_undone_as_a_whole(tmp_path: Path):
    store = new_store(tmp_path, 3)
    store.take_over("day-001", [batch([CAT] * 3)], WHO)
    event = store.accept(store.current().image, "day-001", WHO, {})
    (undone,) = store.undo([event], WHO)
    assert store.current().state.tolist() == [State.AUTO] * 3
    store.undo([undone], WHO)
    assert store.current().state.tolist() == [State.ACCEPTED] * 3 and store.check() == []
