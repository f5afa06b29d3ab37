"""A run's labels become the current ones; those that an audit backs are accepted until the next run's come."""

from pathlib import Path

import numpy as np
import pytest

from semisonic.daily.store import Change, State
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store

CAT, DOG = 1, 2


def test_labels_of_persons_stay(tmp_path: Path):
    store = new_store(tmp_path, 6, labeled=1)
    decided = [(2, State.REVIEWED, DOG), (3, State.REJECTED, None), (4, State.UNSURE, None)]
    store.record([Change(image, state, label, None) for image, state, label in decided], WHO, "page:free")
    event = store.take_over("day-001", [batch([DOG] * 3), batch([DOG, DOG], [4, 5])], WHO)
    now = store.current()
    assert now.state.tolist() == [State.GIVEN, State.REVIEWED, State.REJECTED, State.UNSURE, State.AUTO, 0]
    assert now.class_id.tolist() == [CAT, DOG, -1, -1, DOG, -1]
    assert store.event(event)[8:] == (None, "day-001", None, {"images": 5}) and store.run == "day-001"
    assert store.check() == []


def test_the_newest_run_s_labels_are_the_current_ones(tmp_path: Path):
    store = new_store(tmp_path, 3)
    store.take_over("day-001", [batch([CAT, CAT, CAT])], WHO)
    store.accept(np.array([1, 2]), "day-001", WHO, {"threshold": 0.9})
    store.take_over("day-002", [batch([DOG, DOG])], WHO)
    assert store.current().class_id.tolist() == [DOG, DOG, -1]
    assert store.current().state.tolist() == [State.AUTO, State.AUTO, State.UNLABELED], "accepted were the others"
    scores = store.scores()
    assert (scores.run, scores.image.tolist(), scores.suspicion.tolist()) == ("day-002", [1, 2], [0.0, 1.0])
    assert scores.runner_up.tolist() == [1, 1] and np.isnan(scores.distance).all()
    assert store.check() == []


def test_only_current_labels_of_no_person_are_accepted(tmp_path: Path):
    store = new_store(tmp_path, 4, labeled=1)
    store.take_over("day-001", [batch([CAT, CAT, DOG])], WHO)
    event = store.accept(np.array([3, 1, 2, 4, 2]), "day-001", WHO, {"threshold": 0.9, "low": 0.98})
    assert store.current().state.tolist() == [State.GIVEN, State.ACCEPTED, State.ACCEPTED, State.UNLABELED]
    assert store.event(event).details["count"] == 2 and store.event(event).details["low"] == 0.98
    for run, line in (
        ("day-009", "run: the labels of day-009 cannot be accepted; those of day-001 are current"),
        (None, "run: the labels of day-001 cannot be accepted; no run has labeled the images yet"),
    ):
        with pytest.raises(UserError) as caught:
            (store if run else new_store(tmp_path / "b")).accept(np.array([1]), run or "day-001", WHO, {})
        assert caught.value.messages == [line]


def test_scores_of_nothing_that_is_there_are_refused(tmp_path: Path):
    store = new_store(tmp_path, 2)
    store.take_over("day-001", [batch([CAT])], WHO)
    for batches, line in (
        ([batch([CAT], [9])], "it has scores of image 9, which the store has not, or has a score of already"),
        ([batch([CAT]), batch([CAT])], "it has scores of image 1, which the store has not, or has a score of already"),
        ([batch([CAT, CAT], [2, 2])], "it has scores twice"),
        ([batch([7])], "it has labels of class 7, which the project has not"),
    ):
        with pytest.raises(UserError) as caught:
            store.take_over("day-002", batches, WHO)
        assert caught.value.messages == [f"run day-002: {line}"]
    assert store.run == "day-001" and store.current().state.tolist() == [State.AUTO, 0] and store.check() == []
    indexes = store.connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'score_class'").fetchone()
    assert indexes == (1,)


def test_labels_of_a_class_that_was_merged_meanwhile_count_for_the_other(tmp_path: Path):
    store = new_store(tmp_path, 2)
    store.merge_classes("dog", "cat", WHO)
    store.take_over("day-001", [batch([DOG, 3], runner_up=DOG)], WHO)
    assert store.current().class_id.tolist() == [CAT, 3] and store.scores().class_id.tolist() == [CAT, 3]
    assert store.merged_ids(CAT) == [1, 2]
