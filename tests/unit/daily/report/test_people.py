"""Looks and errors by queue, pairs of classes, and how far reviewers agree."""

from pathlib import Path

from semisonic.daily.report.known import Known, reading
from semisonic.daily.report.people import FASTEST, confusions, pace, queues, reviewers
from semisonic.daily.store import State
from semisonic.daily.store.events import Author, append
from tests.support.daily_days import add_day, give, look, new_project, truth


def test_queues_count_looks_errors_and_what_waits(known: Known):
    found = {queue.name: queue for queue in queues(known)}
    assert list(found) == ["farthest", "audit", "suspicious"]
    assert (found["farthest"].looks, found["farthest"].compared, found["farthest"].errors) == (2, 0, 0)
    assert found["audit"].looks == found["audit"].compared == 30 and found["audit"].errors == 3
    assert (found["suspicious"].looks, found["suspicious"].errors) == (5, 3)
    assert found["audit"].waiting == known.waiting["audit"] == 9


def test_pairs_are_of_the_network_and_this_day(known: Known):
    pairs, count = confusions(known)
    assert count == 6 and [(pair.said, pair.meant, pair.count, pair.share) for pair in pairs] == [
        ("dog", "cat", 6, 1.0)
    ]
    assert all(one.image % 9 == 0 and one.label == "cat" and one.by == "ann" for one in pairs[0].examples)


def test_reviewers_agree_as_far_as_they_did(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 20, labeled=4)
        give(project, store, "day-001")
        first, second = look(store, [9, 10], "audit")
        store.second_look(9, first, "ann", State.REVIEWED, truth(9))
        store.second_look(10, second, "ann", State.UNSURE, None)
        store.second_look(10, second, "bo", State.GIVEN, truth(10))
        gone = store.second_look(9, first, "bo", State.GIVEN, truth(10))
        author = Author("bo", "page:audit")
        note = append(store.connection, author, "note", details={"image": 9, "first": first, "second_look": gone})
        append(store.connection, author, "undo", details={"event": note})
    with reading(project) as known:
        ann, bo = reviewers(known)
    assert (ann.name, ann.looks, bo.name, bo.looks) == ("ann", 2, "bo", 0)
    assert ann.itself is not None and (ann.itself.value, ann.itself.n) == (0.5, 2)
    assert bo.itself is None and bo.others is not None and (bo.others.value, bo.others.n) == (1.0, 1)
    assert ann.others == bo.others, "an agreement is of both"


def test_a_pace_is_that_of_people_or_said_to_be_a_guess(known: Known, tmp_path: Path):
    speed, measured = pace(known)
    assert speed == FASTEST and measured, "a program has looked"
    with reading(new_project(tmp_path)) as empty:
        assert pace(empty) == (20.0, False)
