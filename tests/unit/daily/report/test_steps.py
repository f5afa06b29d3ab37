"""What is next, as a day goes on."""

from pathlib import Path

from semisonic.daily.report.known import Known, reading
from semisonic.daily.report.steps import steps
from tests.support.daily_days import add_day, new_project


def test_after_labeling_the_audit_comes_first(known: Known):
    found = steps(known, 10.0, 0.05)
    assert [(one.what, one.images, one.minutes, one.gain) for one in found] == [
        ("audit", 9, 0.9, 0.05),
        ("add", 0, None, None),
    ]


def test_before_labeling_people_label_what_was_chosen(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        with reading(project) as known:
            assert [one.what for one in steps(known, 10.0, None)] == ["add"]
        images = add_day(project, store, 10)
        store.put_queue("farthest", images[:5].tolist(), 1)
        with reading(project) as known:
            assert [(one.what, one.images) for one in steps(known, 10.0, None)] == [("label", 5), ("train", 0)]
        store.freeze("day-001")
        store.open_day()
        add_day(project, store, 10)
        store.put_queue("second-look", [1, 2], 2)
        with reading(project) as known:
            assert [(one.what, one.images) for one in steps(known, 10.0, None)] == [
                ("second-look", 2), ("farthest", 5), ("train", 0),
            ]  # fmt: skip
