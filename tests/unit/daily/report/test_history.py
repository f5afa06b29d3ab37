"""Looks of people: what stood before each, which are undone, on which day, and how fast."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.report.history import first_events, labels_of, look_up, looks, per_minute
from semisonic.daily.report.known import Known
from semisonic.daily.store import ANY, Change, State
from tests.support.daily_days import add_day, give, guess, look, new_project, truth


def test_a_look_knows_what_stood_before(known: Known):
    found = known.looks
    before = found.queue == "farthest"
    assert (found.said[before] == -1).all() and not found.compared[before].any()
    after = np.isin(found.queue, ("audit", "suspicious"))
    assert found.said[after].tolist() == [guess(image) for image in found.image[after].tolist()]
    assert found.meant[after].tolist() == [truth(image) for image in found.image[after].tolist()]
    assert found.by_network[after].all() and (found.image[found.corrected] % 9 == 0).all()
    assert sorted(set(found.day.tolist())) == [1, 3] and set(found.who.tolist()) == {"ann", "bo"}


def test_undone_looks_are_none_and_what_was_put_right_is_a_persons(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 20, labeled=4)
        give(project, store, "day-001")
        first, second, third = look(store, [9, 10, 11], "suspicious")
        store.undo([first], "ann")
        undoing = store.undo([second], "ann")
        store.undo(undoing, "bo")  # it stands again
        store.record([Change(11, State.REVIEWED, 1, ANY), Change(12, State.UNSURE, None, ANY)], "bo", "page:free")
        accepted = Change(13, State.REVIEWED, guess(13), ANY, details={"queue": "suspicious"})
        store.record([accepted], "bo", "page:accept")
        found = looks(store, project.auto)
        assert found.event.tolist()[:2] == [second, third] and found.image.tolist() == [10, 11, 11, 12, 13]
        assert found.said.tolist() == [guess(10), guess(11), truth(11), guess(12), guess(13)]
        assert found.by_network.tolist() == [True, True, False, True, True]
        assert found.corrected.tolist() == [False, False, True, False, False] and found.decided.tolist()[3] is False
        assert found.queue.tolist() == ["suspicious", "suspicious", "free", "free", "suspicious"]


def test_classes_are_what_they_became(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 20, labeled=4)
        give(project, store, "day-001")
        look(store, [9], "audit")
        assert looks(store, project.auto).corrected.tolist() == [True]
        names = {row.id: row.name for row in store.classes()}
        store.merge_classes(names[guess(9)], names[truth(9)], "ann")
        assert looks(store, project.auto).corrected.tolist() == [False]


def test_days_begin_with_their_first_event(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        assert list(first_events(store)) == [1]
        add_day(project, store, 5, labeled=1)
        last = store.last_event
        store.open_day()
        assert first_events(store) == {1: 1, 2: last + 1}


def test_labels_of_a_run_that_are_gone_are_none(tmp_path: Path):
    assert [len(part) for part in labels_of(tmp_path, "day-001")] == [0, 0]
    assert look_up(np.array([2, 5]), np.array([7, 8]), np.array([5, 1, 9, 2])).tolist() == [8, -1, -1, 7]
    assert look_up(np.array([], np.int64), np.array([], np.int64), np.array([5])).tolist() == [-1]


@pytest.mark.parametrize(
    ("seconds", "pace"),
    [(range(0, 60, 4), 15), ([*range(0, 60, 4), *range(120, 180, 4)], 15), (range(3), None), ([5.0] * 40, None)],
)
def test_pauses_say_nothing_of_a_pace(seconds: list[float], pace: float | None):
    assert per_minute(np.array(seconds, np.float64)) == pace
