"""Classes as events make them, what their names may be, and which rows of a head become whose."""

import pytest

from semisonic.daily.store.classes import Classes, Unfounded, class_name, fold, head_rows, need, new_names
from semisonic.daily.store.events import Event
from semisonic.daily.store.rows import ClassRow
from semisonic.schema import UserError
from semisonic.text import name_of


def event(number: int, kind: str = "class", **details) -> Event:
    return Event(number, kind, None, None, None, "command", "ann", "", None, None, None, details)


def added(*names: str) -> list[Event]:
    return [event(place, do="add", id=place, name=name) for place, name in enumerate(names, 1)]


def undo(number: int, target: int) -> Event:
    return event(number, "undo", event=target)


def names(classes: Classes) -> list[str]:
    return [row.name for row in classes.active()]


PETS = added("cat", "dog", "owl")


def test_each_change_and_its_undoing():
    merged = [*PETS, event(4, do="merge", id=2, into=1)]
    found = fold(merged)
    assert names(found) == ["cat", "owl"] and found.rows[2] == ClassRow(2, "dog", 1, "merged", 1)
    assert [found.resolve(n) for n in (None, 1, 2, 3, 9)] == [None, 1, 1, 3, None]
    assert found.resolution().tolist() == [-1, 1, 1, 3, -1] and found.merged(1) == [1, 2]
    assert names(fold([*merged, undo(5, 4)])) == ["cat", "dog", "owl"]
    assert names(fold([*merged, undo(5, 4), undo(6, 5)])) == ["cat", "owl"]
    split = [*PETS, event(4, do="split", id=2, parts=[{"id": 4, "name": "dog"}, {"id": 5, "name": "wolf"}])]
    found = fold(split)
    assert names(found) == ["cat", "owl", "dog", "wolf"] and found.resolve(2) is None and found.named("dog").id == 4  # type: ignore[union-attr]
    again = fold([*split, undo(5, 4)])
    assert names(again) == ["cat", "dog", "owl"] and again.rows[5].status == "retired"
    assert names(fold([*PETS, event(4, do="rename", id=2, name="hound")])) == ["cat", "hound", "owl"]
    assert names(fold([*PETS, event(4, do="retire", id=2)])) == ["cat", "owl"]


def test_chains_of_merges_lead_to_the_last_class():
    found = fold([*PETS, event(4, do="merge", id=1, into=2), event(5, do="merge", id=2, into=3)])
    assert [found.resolve(n) for n in (1, 2, 3)] == [3, 3, 3] and sorted(found.merged(3)) == [1, 2, 3]
    assert found.by_name() == {"cat": 3, "dog": 3, "owl": 3}


def test_what_others_build_on_cannot_be_undone():
    renamed = [*PETS, event(4, do="rename", id=2, name="hound"), event(5, do="add", id=4, name="dog")]
    with pytest.raises(Unfounded, match=r"^event 5 \(add\) builds on it: there is a class dog already$"):
        fold([*renamed, undo(6, 4)])
    merged = [*PETS, event(4, do="merge", id=2, into=1)]
    with pytest.raises(Unfounded, match=r"^event 4 \(merge\) builds on it: the class cat is retired$"):
        fold([*merged, undo(5, 1)])


def test_names_are_checked_together():
    classes = fold([*PETS, event(4, do="merge", id=2, into=1), event(5, do="retire", id=3)])
    assert new_names(classes, [" newt ", "dog"]) == ["newt", "dog"]
    with pytest.raises(UserError) as caught:
        new_names(classes, ["cat", "newt", "newt", "", "n" * 201, "half \udc80"])
    assert caught.value.messages == [
        "classes: there is a class cat already; each has a name of its own",
        "classes: there is a class newt already; each has a name of its own",
        "classes: the name '' is empty",
        f"classes: the name {name_of(repr('n' * 201))} has 201 characters; at most 200 are allowed",
        "classes: the name 'half \\udc80' is not text that can be written",
    ]
    assert class_name("<script>") == "<script>"


def test_a_class_that_is_not_there_is_told_with_what_became_of_it():
    classes = fold([*PETS, event(4, do="merge", id=2, into=1), event(5, do="retire", id=3)])
    assert need(classes, " cat").id == 1
    for name, line in (
        ("dog", "classes: dog was merged into cat"),
        ("owl", "classes: owl is retired; undo that, or add a class of another name"),
        ("newt", "classes: there is no class newt; the classes are cat"),
    ):
        with pytest.raises(UserError) as caught:
            need(classes, name)
        assert caught.value.messages == [line]


def test_head_rows_of_an_earlier_run():
    run = [(1, "cat"), (2, "dog"), (3, "owl")]
    later = [
        *PETS, event(4, do="add", id=4, name="newt"), event(5, do="merge", id=3, into=1),
        event(6, do="split", id=2, parts=[{"id": 5, "name": "dog"}, {"id": 6, "name": "wolf"}]),
    ]  # fmt: skip
    assert head_rows(run, fold(PETS)) == [[0], [1], [2]]
    assert names(fold(later)) == ["cat", "newt", "dog", "wolf"]
    assert head_rows(run, fold(later)) == [[0, 2], [], [1], [1]]
    twice = [*later, event(7, do="split", id=6, parts=[{"id": 7, "name": "wolf"}, {"id": 8, "name": "fox"}])]
    assert head_rows(run, fold(twice))[-2:] == [[1], [1]]
