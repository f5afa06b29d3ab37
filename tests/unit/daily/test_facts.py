"""What is read of a project to decide what comes next."""

import os
import time
from pathlib import Path

import pytest

from semisonic.checkpoint.folder_lock import FolderLock
from semisonic.daily.facts import USUAL, gather, pace_of, shown_folder
from semisonic.daily.project import Project
from semisonic.daily.steps import Facts, next_step
from semisonic.daily.store import ANY, Change, State
from semisonic.daily.store.queues import NAMES
from tests.support.daily import batch, new_image


def test_the_facts_of_a_first_day(tmp_path: Path):
    project = Project.create(tmp_path / "p", ["cat", "dog", "owl"], 8, {}, "ann")
    looks, empty = project.settings.looks["farthest"], dict.fromkeys(NAMES, 0)
    assert gather(project) == Facts(shown_folder(project.folder), classes=3, queues=empty, looks=looks)
    with project.store() as store:
        store.add_images([new_image(tmp_path / "images", f"{name}.png") for name in "abcdefgh"], "ann")
        store.put_queue("farthest", [1, 2, 3, 4], 1)
        assert gather(project).chosen and gather(project).queues["farthest"] == 4
        store.record([Change(image, State.GIVEN, 1 + image % 2, ANY) for image in (1, 2, 3)], "ann", "page:farthest")
        store.record([Change(4, State.REJECTED, None, ANY)], "ann", "page:farthest")
        facts = gather(project)
        assert facts.chosen and facts.queues["farthest"] == 0
        assert (facts.images, facts.labels, facts.labeled_classes, facts.new_labels) == (7, 3, 2, 4)
        assert next_step(facts).do == ("train",)
        store.freeze("day-001")
        facts = gather(project)
        assert (facts.run, facts.run_day, facts.finished, facts.new_labels) == ("day-001", 1, False, 0)
        (project.runs / "day-001").mkdir(parents=True)
        (project.runs / "day-001" / "summary.json").write_text("{}")
        assert gather(project).finished and next_step(gather(project)).do == ("label",)
        store.take_over("day-001", [batch([1] * 8)], "ann")
        store.record([Change(5, State.REVIEWED, 1, ANY)], "ann", "page:audit")
        facts = gather(project)
        assert facts.labeled_run == "day-001" and facts.new_labels == 1 and next_step(facts).do == ("report",)
        project.report.mkdir()
        report = project.report / "day-001.json"
        report.write_text("{}")
        assert gather(project).reported
        os.utime(report, (time.time() - 60, time.time() - 60))
        assert not gather(project).reported
        store.open_day()
        store.add_images([new_image(tmp_path / "images", "second.png")], "ann")
        facts = gather(project)
        assert facts.undecided == 1
        assert (
            facts.day == 2 and not facts.chosen and not facts.trained and next_step(facts).do == ("choose", str(looks))
        )


def test_a_step_that_works_is_waited_for(tmp_path: Path):
    project = Project.create(tmp_path / "p", ["cat", "dog"], 8, {}, "ann")
    lock = FolderLock(project.folder)
    try:
        assert str(os.getpid()) in str(gather(project).at_work)
    finally:
        lock.release()
    assert gather(project).at_work is None


def test_the_pace_is_that_of_looks_without_pauses():
    steady = [("ann", 4.0 * number) for number in range(12)]
    assert pace_of(steady) == 4.0 and pace_of(steady[:5]) == USUAL == pace_of([])
    after_lunch = [*steady, *(("ann", 4000.0 + 4 * number) for number in range(12))]
    assert pace_of(after_lunch) == 4.0
    both = sorted([*steady, *(("bob", 1.0 + 8 * number) for number in range(2))], key=lambda look: look[1])
    assert pace_of(both) == 4.0
    accepted = [("ann", 0.0), *[("ann", 30.0)] * 60]
    assert pace_of(accepted) == pytest.approx(0.5)


def test_a_folder_is_named_as_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert shown_folder(tmp_path / "p") == "p" and shown_folder(tmp_path / "my cats") == "'my cats'"
    monkeypatch.chdir("/")
    assert shown_folder(tmp_path.parent) == str(tmp_path.parent).lstrip("/")
