"""What persons say of images: all of a call or none, conflicts told, changes that are sent twice counted once."""

from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, Conflict, State
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store

CAT, DOG = 1, 2


def given(image: int, label: int | None = CAT, seen: int | None = None, state: State = State.GIVEN, key=None) -> Change:
    return Change(image, state, label, seen, key)


def test_a_label_is_an_event_that_names_all_of_it(tmp_path: Path):
    store = new_store(tmp_path, 2)
    change = Change(2, State.REVIEWED, DOG, None, "k1", {"shown": 1})
    (number,) = store.record([change], WHO, "page:suspicious", run="day-001")
    event = store.event(number)
    assert event[1:7] == ("label", 2, DOG, State.REVIEWED, "page:suspicious", WHO)
    assert event[8:] == (None, "day-001", "k1", {"shown": 1}) and event.at.endswith("+00:00")
    assert store.now_of(2) == (number, State.REVIEWED, DOG, WHO) and store.now_of(1) == (None, 0, None, None)
    (later,) = store.record([given(2, None, number, State.REJECTED)], "bob", "page:free")
    assert store.event(later).previous == number and store.now_of(2) == (later, State.REJECTED, None, "bob")
    assert store.check() == []


def test_a_change_that_is_sent_twice_is_one_event(tmp_path: Path):
    store = new_store(tmp_path, 2)
    first = store.record([given(1, key="a"), given(2, key="b")], WHO, "page:free")
    later = store.record([given(1, DOG, first[0])], WHO, "page:free")
    assert store.record([given(2, key="b"), given(1, key="a")], WHO, "page:free") == first[::-1]
    assert store.last_event == later[0]
    with pytest.raises(UserError, match=r"^key: a was sent before, with another change; each has a key of its own$"):
        store.record([given(2, DOG, ANY, key="a")], WHO, "page:free")


def test_of_two_persons_the_second_is_told(tmp_path: Path):
    store = new_store(tmp_path, 3)
    (event,) = store.record([given(2)], WHO, "page:free")
    with pytest.raises(Conflict) as caught:
        store.record([given(1, DOG), given(2, DOG), given(3, DOG)], "bob", "page:free")
    assert caught.value.messages == ["image 2: ann has labeled it cat meanwhile; look at it again"]
    assert (caught.value.image, caught.value.now) == (2, (event, State.GIVEN, CAT, WHO))
    assert store.last_event == event, "all or nothing"
    store.record([given(2, DOG, ANY)], "bob", "page:free")
    for says, seen in (("bob has labeled it dog", event), ("bob has labeled it dog", None)):
        with pytest.raises(Conflict, match=says):
            store.record([given(2, CAT, seen)], WHO, "page:free")
    undone = store.undo([store.last_event], "bob")
    with pytest.raises(Conflict, match=r"^image 2: bob has undone a label of it meanwhile"):
        store.record([given(2, CAT, event)], WHO, "page:free")
    assert store.record([given(2, CAT, undone[0])], WHO, "page:free")
    store.record([given(1, None, 0, State.UNSURE)], WHO, "page:free")
    with pytest.raises(Conflict, match="ann has made it unsure meanwhile"):
        store.record([given(1)], "bob", "page:free")


def test_a_run_s_new_labels_are_no_conflict(tmp_path: Path):
    store = new_store(tmp_path, 1)
    store.take_over("day-001", [batch([CAT])], WHO)
    store.take_over("day-001-2", [batch([DOG])], WHO)
    store.record([given(1, CAT, None, State.REVIEWED)], WHO, "page:suspicious")


def test_what_cannot_be_said_is_told_together(tmp_path: Path):
    store = new_store(tmp_path, 6)
    store.retire_class("owl", WHO)
    wrong = [
        given(9), given(1, None), given(2, 7), given(3, 3), given(4, CAT, state=State.UNSURE), given(5, state=State.AUTO),
    ]  # fmt: skip
    with pytest.raises(UserError) as caught:
        store.record([*wrong, given(6)], WHO, "page:free")
    assert caught.value.messages == [
        "image 9: has no such image",
        "image 1: a label needs a class",
        "image 2: there is no class 7",
        "image 3: the class owl is retired",
        "image 4: unsure has no class",
        "image 5: auto is nothing that a person can say",
    ]
    assert store.now_of(6) == (None, 0, None, None)
    with pytest.raises(UserError, match=r"^--who: ' ' is not valid; expected a name of 1 to 100 characters"):
        store.record([given(1)], " ", "page:free")
    with pytest.raises(UserError, match=r"^source: nowhere is none; one of add, command, import, page:accept"):
        store.record([given(1)], WHO, "nowhere")


def test_a_label_of_a_merged_class_is_one_of_the_class_it_was_merged_into(tmp_path: Path):
    store = new_store(tmp_path, 1)
    store.merge_classes("dog", "cat", WHO)
    store.record([given(1, DOG, key="a")], WHO, "page:free")
    assert store.now_of(1)[2] == CAT  # type: ignore[index]
    store.record([given(1, DOG, key="a")], WHO, "page:free")  # sent again


def test_a_decided_image_leaves_its_queues(tmp_path: Path):
    store = new_store(tmp_path, 3)
    store.put_queue("farthest", [3, 1, 2], 1)
    store.put_queue("audit", [1], 1)
    (event,) = store.record([given(1)], WHO, "page:farthest")
    assert store.queue("farthest").tolist() == [3, 2] and store.queue("audit").tolist() == []
    store.undo([event], WHO)
    assert store.queue("farthest").tolist() == [3, 1, 2] and store.queue("audit").tolist() == [1]
    assert store.check() == []
