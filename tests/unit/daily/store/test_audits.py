"""Audits know the first look of a person at each of their images, and repeats change nothing that stands."""

from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State, Store
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store

CAT, DOG = 1, 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Images 1 to 5 in an audit of a run that calls all of them cats."""
    store = new_store(tmp_path, 6)
    store.take_over("day-001", [batch([CAT] * 6)], WHO)
    rows = [(image, image % 2, CAT, 0.9) for image in range(1, 6)]
    assert store.new_audit("day-001", 1, "stratified", 0, 6, {"sizes": [3, 3]}, rows) == 1
    return store


def say(store: Store, image: int, label: int | None, state: State = State.GIVEN, source: str = "page:audit") -> int:
    return store.record([Change(image, state, label, ANY)], WHO, source)[0]


def test_an_audit_is_kept_as_it_was_drawn(store: Store):
    (audit,) = store.audits("day-001")
    assert audit[:3] == (1, "day-001", 1) and audit[4:] == ("stratified", 0, 6, {"sizes": [3, 3]})
    assert store.audits() == [audit] and store.audits("day-002") == []
    rows = store.audit_rows(1)
    assert rows.image.tolist() == [1, 2, 3, 4, 5] and rows.stratum.tolist() == [1, 0, 1, 0, 1]
    assert rows.certainty.tolist() == [0.9] * 5 and rows.event.tolist() == [0] * 5 and rows.state.tolist() == [-1] * 5


def test_the_first_look_counts_and_a_later_correction_is_what_is_true(store: Store):
    events = [say(store, 1, CAT), say(store, 2, DOG), say(store, 3, None, State.REJECTED)]
    other = say(store, 4, CAT, source="page:suspicious")
    say(store, 2, CAT)
    rows = store.audit_rows(1)
    assert rows.event.tolist() == [*events, other, 0] and rows.blind.tolist() == [True, True, True, False, False]
    assert rows.state.tolist() == [State.GIVEN, State.GIVEN, State.REJECTED, State.GIVEN, -1]
    assert rows.person_class.tolist() == [CAT, CAT, -1, CAT, -1] and store.check() == []


def test_a_look_that_is_undone_is_none(store: Store):
    first = say(store, 1, DOG)
    (undone,) = store.undo([first], WHO)
    assert store.audit_rows(1).event[0] == 0 and store.audit_rows(1).state[0] == -1
    second = say(store, 1, CAT)
    assert store.audit_rows(1).event[0] == second
    store.undo([second, undone], WHO)
    assert store.audit_rows(1).event[0] == first and store.check() == []


def test_looks_before_an_audit_do_not_count_for_it(store: Store):
    event = say(store, 6, CAT)
    assert store.new_audit("day-002", 1, "simple", 1, 6, {}, [(6, 0, CAT, 0.5)]) == 2
    assert store.audit_rows(2).event.tolist() == [0]
    store.undo([event], WHO)
    say(store, 6, DOG)
    assert store.audit_rows(2).event.tolist() == [store.last_event] and store.check() == []


def test_classes_of_an_audit_are_those_merged_into(store: Store):
    say(store, 1, DOG)
    store.merge_classes("dog", "cat", WHO)
    rows = store.audit_rows(1)
    assert rows.class_id[0] == CAT and rows.person_class[0] == CAT
    store.retire_class("cat", WHO)
    rows = store.audit_rows(1)
    assert rows.class_id[0] == -1 and rows.person_class[0] == -1 and rows.state[0] == State.GIVEN


def test_a_repeat_changes_nothing_unless_it_differs(store: Store):
    first = say(store, 1, CAT)
    assert store.second_look(1, first, "bob", State.REVIEWED, CAT, "k") == 1
    assert store.second_look(1, first, "bob", State.REVIEWED, CAT, "k") == 1, "sent twice"
    assert store.queue("second-look").tolist() == []
    assert store.second_look(1, first, WHO, State.GIVEN, DOG) == 2
    assert store.queue("second-look").tolist() == [1] and store.now_of(1)[2] == CAT  # type: ignore[index]
    one, two = store.second_looks()
    assert one[1:4] == (1, first, "bob") and one[5:] == (State.REVIEWED, CAT, WHO, State.GIVEN, CAT)
    assert two[5:] == (State.GIVEN, DOG, WHO, State.GIVEN, CAT)


def test_a_repeat_of_something_else_is_refused(store: Store):
    first = say(store, 1, CAT)
    for image, state, label, line in (
        (2, State.GIVEN, CAT, f"image 2: event {first} is no label of it"),
        (1, State.GIVEN, None, "image 1: a second look gives a class, or rejected, or unsure"),
        (1, State.AUTO, CAT, "image 1: a second look gives a class, or rejected, or unsure"),
    ):
        with pytest.raises(UserError) as caught:
            store.second_look(image, first, WHO, state, label)
        assert caught.value.messages == [line]
