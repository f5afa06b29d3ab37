"""`status`: days, labels by their state, queues, runs and audits, and what comes next, as tables and as JSON."""

import json
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State
from tests.support.daily import batch, new_image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The evening of a first day, and the images of the second."""
    made = Project.create(tmp_path / "<b>p", ["cat", "dog"], 8, {}, "ann")
    with made.store() as store:
        store.add_images([new_image(tmp_path / "images", f"{name}.png") for name in "abcdef"], "ann")
        store.record([Change(1, State.GIVEN, 1, ANY), Change(2, State.GIVEN, 2, ANY)], "ann", "page:free")
        store.freeze("day-001")
        store.take_over("day-001", [batch([1] * 6)], "ann")
        store.new_audit("day-001", 1, "simple", 0, 4, {}, [(3, 0, 1, 0.9), (4, 0, 1, 0.8)])
        store.record([Change(3, State.REVIEWED, 1, ANY)], "ann", "page:audit")
        store.put_queue("audit", [4], 1)
        store.open_day()
        store.add_images([new_image(tmp_path / "images", f"{name}.png") for name in "xyz"], "ann")
    return made


def test_all_of_it_is_shown(project: Project, capsys: pytest.CaptureFixture):
    assert cli.daily([str(project.folder), "status"]) == 0
    shown = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[0] == "<b>p: day 2, 2 classes" and lines[1] == "day began images unlabeled auto given reviewed"
    assert lines[2].startswith("1 20") and lines[2].endswith(" 6 0 3 2 1") and lines[3].endswith(" 3 3 0 0 0")
    assert lines[4:] == [
        "Queues: audit 1",
        "run day images labeled",
        "day-001 1 6 2 not finished",
        "audit of day images looked at of",
        "day-001 1 2 1 4 simple",
        "Next: choose 10: the 10 images farthest from all earlier days",
    ]


def test_queues_have_the_names_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture):
    """On the first day images are chosen that are typical, and none that are far from others."""
    project = Project.create(tmp_path / "p", ["cat", "dog"], 8, {}, "ann")
    with project.store() as store:
        store.add_images([new_image(tmp_path / "images", f"{name}.png") for name in "ab"], "ann")
        store.put_queue("farthest", [1, 2], 1)
    assert cli.daily([str(project.folder), "status"]) == 0
    assert "Queues: first images 2" in capsys.readouterr().out.splitlines()


def test_as_json_for_programs(project: Project, capsys: pytest.CaptureFixture):
    assert cli.daily([str(project.folder), "status", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["day"] == 2 and [day["images"] for day in seen["days"]] == [6, 3] and seen["queues"]["audit"] == 1
    assert seen["runs"] == [{"run": "day-001", "day": 1, "images": 6, "labeled": 2, "finished": False, "current": True}]
    assert seen["audits"][0]["looked"] == 1 and seen["next"]["do"] == ["choose", "10"]
