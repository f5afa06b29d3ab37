"""Images that a report shows: the farthest of a day in groups, and labels of people to look at again."""

from pathlib import Path

import numpy as np

from semisonic.daily.report.known import Known, reading
from semisonic.daily.report.pictures import FARTHEST, far, given, shown
from tests.support.daily_days import add_day, give, look, new_project


def test_the_farthest_are_those_that_were_chosen_and_those_of_the_run(known: Known):
    found = far(known)
    assert found is not None and found.ranked_by == "their features before the training and by run day-003"
    images = [one.image for group in found.groups for one in group]
    assert len(set(images)) == len(images) and {177, 178, 179, 180} <= set(images) and len(images) <= 2 * FARTHEST
    kinds = [{one.image % 8 for one in group} for group in found.groups]
    assert len(kinds) > 2 and sum(map(len, kinds)) == len(set().union(*kinds)), "what looks alike stands together"
    assert found.looked == 2 and [(one.name, one.count) for one in found.labels] == [("cat", 1), ("dog", 1)]
    by = {one.image: one for group in found.groups for one in group}
    assert by[177].by == "bo" and by[179].by == "auto" and by[180].score == known.scores.distance[179]


def test_without_features_they_stand_together(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 6, labeled=2)
        store.freeze("day-001")
        store.open_day()
        images = add_day(project, store, 6)
        store.put_queue("farthest", images[:3].tolist(), 2)
        look(store, [int(images[3])], "farthest")
    with reading(project) as known:
        found = far(known)
    assert found is not None and [[one.image for one in group] for group in found.groups] == [[10, 7, 8, 9]]
    assert [one.label for one in found.groups[0]] == ["owl" if 10 % 3 == 2 else "dog", None, None, None]
    assert found.typical is None and found.ranked_by == "their features before the training"


def test_day_1_has_none(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 6)
    with reading(project) as known:
        assert far(known) is None and given(known) is None and shown(known, np.zeros(0, np.int64)) == []


def test_labels_to_look_at_again_stand_still_and_were_not_looked_at_since(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 20, labeled=8)
        give(project, store, "day-001")  # ranks 8 first, 1 last
        look(store, [8], "given")
        look(store, [7], "free", wrong=[7])
        look(store, [6], "free")
    with reading(project) as known:
        found = given(known)
    assert found is not None and found.run == "day-001" and found.ranked == 8
    assert [(one.image, one.score) for one in found.images] == [(6, 3.0), (5, 4.0)]  # of the more suspicious half
    assert {one.by for one in found.images} == {"ann"}
