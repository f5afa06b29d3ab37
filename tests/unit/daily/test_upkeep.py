"""check, undo, classes and backup, as commands: what they say, and that mistakes change nothing."""

import sqlite3
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.daily.project import Project
from semisonic.daily.store import ANY, Change, State, Store
from tests.support.daily import new_image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two cats of ann's, a dog of bob's, and an image without a label."""
    made = Project.create(tmp_path / "p", ["cat", "dog"], 8, {}, "ann")
    with made.store() as store:
        store.add_images([new_image(tmp_path / "images", f"{name}.png") for name in "abcd"], "ann")
        store.record([Change(1, State.GIVEN, 1, ANY), Change(2, State.GIVEN, 1, ANY)], "ann", "page:free")
        store.record([Change(3, State.GIVEN, 2, ANY)], "bob", "page:free")
    return made


def daily(project: Project, *arguments: object) -> int:
    return cli.daily([str(project.folder), *map(str, arguments)])


def last(project: Project) -> int:
    with project.store() as store:
        return store.last_event


def test_check_tells_what_is_wrong(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert daily(project, "check") == 0
    assert "Nothing is wrong: 4 images, 5 events" in capsys.readouterr().out
    assert daily(project, "check", "--hashes") == 0 and "4 images, all read" in capsys.readouterr().out
    (tmp_path / "images" / "a.png").unlink()
    assert daily(project, "check") == 1
    assert "1 image is gone: image 1 (" in capsys.readouterr().out


def test_undo_by_number_and_the_last_of_a_person(project: Project, capsys: pytest.CaptureFixture):
    assert daily(project, "undo", 3, "--who", "zoe") == 0
    assert "Event 3 is undone, by event 6: " in (shown := capsys.readouterr().out)
    assert shown.endswith("/a.png is unlabeled again\n")
    assert daily(project, "undo", 6) == 0 and "a.png is given as cat again" in capsys.readouterr().out
    assert daily(project, "undo", "--last", 9, "--who", "ann") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    with project.store() as store:
        assert [store.now_of(image).state for image in (1, 2, 3)] == [State.UNLABELED, State.UNLABELED, State.GIVEN]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("undo", "undo: give the numbers of events, or --last N"),
        ("undo 3 --last 1", "undo: give the numbers of events, or --last N"),
        ("undo 99", "event 99: there is none of this number"),
        ("undo 3 99", "event 99: there is none of this number"),
        ("undo --last 1 --who zoe", "--last: there is no label of zoe that stands"),
        ("classes add", "classes add: takes the names of new classes; 0 given"),
        ("classes rename cat", "classes rename: takes a class and its new name; 1 given"),
        ("classes rename cow pig", "classes: there is no class cow; the classes are cat, dog"),
        ("classes rename cat dog", "classes: there is a class dog already"),
        ("classes merge cat cat", "classes: cat cannot be merged into itself"),
        ("classes split cat kitten", "classes split: takes a class and the names of two or more"),
        ("classes list cat", "classes list: takes no names; 1 given"),
        ("backup nowhere/b.db", "nowhere/b.db"),
        ("backup /proc/b.db", "/proc/b.db"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    project: Project,
    line: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.chdir(tmp_path)
    before = last(project)
    assert daily(project, *line.split()) == 2 and last(project) == before
    (shown,) = capsys.readouterr().err.splitlines()
    assert told in shown


def test_classes_are_changed_and_listed(project: Project, capsys: pytest.CaptureFixture):
    for line in ("add bird", "rename dog wolf", "merge cat bird", "split wolf husky pug", "retire pug"):
        assert daily(project, "classes", *line.split(), "--who", "zoe") == 0
    shown = capsys.readouterr().out
    assert "Event 6. The classes are now cat, dog, bird" in shown
    assert "Event 8; 2 images are queued for a second look. The classes are now wolf, bird" in shown
    assert Project.open(project.folder).settings.classes == ["bird", "husky"]
    assert daily(project, "classes", "list") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert (
        ["1", "cat", "merged", "into", "bird"] in rows
        and ["3", "bird", "2", "0"] in rows
        and ["2", "wolf", "retired"] in rows
    )
    assert daily(project, "undo", 6) == 2  # cat was merged into bird
    capsys.readouterr()
    assert daily(project, "check") == 0


def test_a_backup_is_a_whole_store(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    with project.store() as writing, writing.transaction():
        assert daily(project, "backup", tmp_path / "b.db") == 0
    assert f"A copy of the store of day 1 is in {tmp_path / 'b.db'}" in capsys.readouterr().out
    with Store.open(tmp_path / "b.db") as copy, project.store() as store:
        assert copy.last_event == store.last_event and not copy.check()
    assert daily(project, "backup", tmp_path / "b.db") == 2 and sqlite3.connect(tmp_path / "b.db")
