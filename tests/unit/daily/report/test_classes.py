"""Classes on a day, and what was done to them in words."""

from pathlib import Path

import numpy as np

from semisonic.daily.report.classes import changes, class_facts
from semisonic.daily.report.known import Known, reading
from semisonic.daily.store.events import Author, append
from tests.support.daily_days import add_day, give, new_project


def test_classes_are_counted_by_whose_labels_they_are(known: Known):
    found = {one.name: one for one in class_facts(known, {1: (12, 11, None)})}
    assert list(found) == ["cat", "dog", "owl", "bat"]
    assert sum(one.by_people for one in found.values()) == int(known.by_person.sum()) == 75
    assert sum(one.by_network for one in found.values()) == int(known.by_network.sum()) == 180 - 75
    assert sum(one.today for one in found.values()) == sum(one.yesterday or 0 for one in found.values()) == 60
    assert (found["cat"].looked, found["cat"].right, found["dog"].looked) == (12, 11, 0)


def test_what_was_done_to_classes_is_told_in_words(tmp_path: Path):
    project = new_project(tmp_path, ("cat", "dog", "owl"))
    with project.store() as store:
        add_day(project, store, 3)
        store.open_day()
        store.add_class("bat", "bo")
        store.rename_class("cat", "kitten", "ann")
        event = store.merge_classes("dog", "kitten", "ann")
        store.split_class("owl", ["barn owl", "eagle owl"], "ann")
        store.retire_class("bat", "ann")
        store.undo([event], "ann")
        append(store.connection, Author("bo"), "note", details={"text": "the camera <moved>"})
        append(store.connection, Author("bo", "page:audit"), "note", details={"second_look": 1})
    with reading(project) as known:
        found = changes(known)
    assert [(one.who, one.text, one.today) for one in found] == [
        ("bo", "the camera <moved>", True),
        ("ann", "retired the class bat", True),
        ("ann", "split the class owl into barn owl, eagle owl", True),
        ("ann", "merged the class dog into kitten (undone)", True),
        ("ann", "renamed the class cat to kitten", True),
        ("bo", "added the class bat", True),
        ("ann", "added 3 classes: cat, dog, owl", False),
    ]
    assert [one.name for one in class_facts_of(project)] == ["kitten", "dog", "barn owl", "eagle owl"]


def class_facts_of(project):
    with reading(project) as known:
        return class_facts(known, {})


def test_what_was_accepted_is_told(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 20, labeled=4)
        give(project, store, "day-001")
        store.accept(np.arange(1, 16), "day-001", "ann", {"at_least": 0.98})
    with reading(project) as known:
        assert next((one.who, one.text) for one in changes(known)) == (
            "ann", "accepted the 11 surest auto-labels, of which at least 98 % are right by the audit",
        )  # fmt: skip
        assert sum(one.by_network for one in class_facts(known, {})) == 16
