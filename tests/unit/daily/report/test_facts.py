"""A report is of one moment, of the newest day, and quick in a large project."""

import time
from pathlib import Path

import numpy as np
import pytest

from semisonic.daily import auditing
from semisonic.daily.project import Project
from semisonic.daily.report.command import write_report
from semisonic.daily.report.facts import collect, report_of
from semisonic.daily.report.known import Known, reading
from semisonic.daily.store import NewImage
from tests.support.daily import WHO
from tests.support.daily_days import EACH, add_day, give, look, new_project


def test_a_report_is_of_the_newest_day(known: Known):
    made = report_of(known)
    assert (made.project, made.day, made.images, made.images_in_all) == ("zoo", 3, EACH, 3 * EACH)
    assert made.event == known.store.last_event and made.at == known.store.event(made.event).at
    assert sum(made.states.values()) == EACH and made.states["auto"] == made.accuracy.by_network == 23
    assert made.corrections == sum(pair.count for pair in made.confusions) == 6
    assert made.far is not None and made.given is not None and len(made.course) == 3


def test_a_report_is_of_one_moment(project: Project):
    with reading(project) as known:
        before = report_of(known)
        with project.store() as store:
            event = store.add_class("wren", "bo")
        assert report_of(known) == before and event.name not in {one.name for one in before.classes}
    assert "wren" in {one.name for one in collect(project).classes}


def test_a_day_without_labels_yet_tells_of_the_newest_network(tmp_path: Path):
    project = new_project(tmp_path)
    with project.store() as store:
        add_day(project, store, 40, labeled=6)
        give(project, store, "day-001")
        auditing.draw(project, store, "day-001", 10)
        look(store, store.queue("audit").tolist(), "audit")
        store.open_day()
        add_day(project, store, 20)
    made = collect(project)
    assert (made.day, made.images, made.accuracy.of, made.accuracy.run) == (2, 20, "day 1", "day-001")
    assert made.accuracy.said.startswith("Of the 40 labels of day 1, ") and [step.what for step in made.steps] == [
        "train"
    ]
    assert made.states == {"unlabeled": 20} and made.far is None


@pytest.mark.long
def test_a_million_images_are_reported_in_seconds(tmp_path: Path):
    project = new_project(tmp_path)
    rows = 1_000_000
    with project.store() as store:
        for day, numbers in ((1, range(1, 700_001)), (2, range(700_001, rows + 1))):
            new = (
                NewImage(
                    f"/images/{n}.png", n.to_bytes(16, "big"), 100, n, n, 32, 32, "cat" if n % 100_000 == 0 else None
                )
                for n in numbers
            )
            store.add_images(new, WHO)
            give(project, store, project.run_name(day))
            auditing.draw(project, store, project.run_name(day), 200)
            look(store, store.queue("audit").tolist(), "audit")
            if day == 1:
                store.open_day()
    begun, used = time.monotonic(), time.process_time()
    made, _ = write_report(project)
    core = time.process_time() - used
    print(f"report of {rows:,} images in {time.monotonic() - begun:.1f} s, {core:.1f} s of a core")
    assert core < 20, "of 30 s at most; what other work on the machine takes is not its own"
    assert made.images_in_all == rows and made.accuracy.handed_out is not None
    assert np.isclose(made.accuracy.handed_out.value, 8 / 9, atol=0.08)
