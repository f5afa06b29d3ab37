"""Bad input of all kinds, through the command as a user gives it: one line each, and nothing that was said is lost."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from semisonic import cli
from semisonic.checkpoint import atomic_files
from semisonic.daily.project import Project
from semisonic.daily.store import Change, State, database
from tests.support.daily_runs import digit_project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Twelve labeled digits and twelve others. Whatever a test does, in the end all that was said is there."""
    made = digit_project(tmp_path)
    with made.store() as store:
        before = store.connection.execute("SELECT * FROM event ORDER BY id").fetchall()
    yield made
    with sqlite3.connect(made.folder / "labels.db") as store:
        store.execute(f"PRAGMA user_version = {database.VERSION}")
    settings = yaml.safe_load((made.folder / "project.yaml").read_text())
    (made.folder / "project.yaml").write_text(yaml.safe_dump(settings | {"format": 1}))
    with made.store() as store:
        assert store.connection.execute("SELECT * FROM event ORDER BY id").fetchall()[: len(before)] == before
        assert not store.check(files=False)


def daily(project: Project, *arguments: object) -> int:
    return cli.daily([str(project.folder), *map(str, arguments)])


def line_of(project: Project, capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """The one line that a refused command says; nothing is said in the store."""
    with project.store() as store:
        last = store.last_event
    capsys.readouterr()
    assert daily(project, *arguments) == 2
    with project.store() as store:
        assert store.last_event == last
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def image(project: Project, number: int) -> Path:
    return project.folder.parent / "images" / f"{number:03}.png"


def test_images_that_are_gone_or_changed(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    image(project, 3).unlink()
    assert daily(project, "check") == 1 and f"image 4 ({image(project, 3)})" in capsys.readouterr().out
    assert f"{image(project, 3)}: the image is gone" in line_of(
        project, capsys, "export", "--to", "tree", "--out", tmp_path / "t"
    )
    assert not (tmp_path / "t").exists()
    shutil.copy(image(project, 20), image(project, 4))
    assert daily(project, "train") == 2
    assert [line.rpartition("/")[2] for line in capsys.readouterr().err.splitlines()[:2]] == [
        "003.png: is labeled, and is gone", "004.png: is labeled, and has changed since it was labeled",
    ]  # fmt: skip
    (tmp_path / "l.csv").write_text(f"path,label\n{image(project, 4)},2\n")
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 2
    assert f"line 2: {image(project, 4)}: is changed; put it back" in capsys.readouterr().err
    assert not project.runs.exists()


def test_one_image_under_two_labels(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("a.png", "b.png"):
        (tmp_path / "more").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "images" / "020.png", tmp_path / "more" / name)
    (tmp_path / "l.csv").write_text("path,label\nmore/a.png,0\nmore/b.png,1\n")
    assert "/more/b.png: is labeled 1, and the same image 0 elsewhere" in line_of(
        project, capsys, "add", tmp_path / "l.csv"
    )
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 2
    assert "line 3: more/b.png: is the image of line 2 once more, with another label" in capsys.readouterr().err


def test_a_class_that_the_project_has_not(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "l.csv").write_text(f"path,label\n{image(project, 20)},eight\n")
    assert "classes that the project has not: eight; add them" in line_of(project, capsys, "add", tmp_path / "l.csv")
    assert "there is no class eight; the classes are 0, 1" in line_of(
        project, capsys, "classes", "rename", "eight", "8"
    )
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 2
    assert "has the label eight, and there is no such class (0, 1" in capsys.readouterr().err


def test_a_path_that_the_project_has_not(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "l.csv").write_text("path,label\n/nowhere/a.png,0\n")
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 2
    first, last = capsys.readouterr().err.splitlines()
    assert (
        "line 2: /nowhere/a.png: is no image of this project; `add` it first" in first
        and "nothing was imported" in last
    )
    assert "/nowhere: no such file or folder" in line_of(project, capsys, "add", "/nowhere")


def test_two_heavy_steps_at_once(project: Project, capsys: pytest.CaptureFixture):
    with project.lock("train"):
        line = line_of(project, capsys, "train")
        assert "train: another `train` is at work in" in line and f"process {os.getpid()} on" in line
        assert daily(project, "next") == 0 and "Next: Wait: process" in capsys.readouterr().out
        assert daily(project, "export", "--to", "csv") == 0


def test_a_project_of_a_newer_version(project: Project, capsys: pytest.CaptureFixture):
    with sqlite3.connect(project.folder / "labels.db") as store:
        store.execute("PRAGMA user_version = 99")
    for line in ("status", "add x", "train", "export --to csv", "next", "check", "undo 1", "page --port 0"):
        assert daily(project, *line.split()) == 2
        (shown,) = capsys.readouterr().err.splitlines()
        assert "labels.db: its version is 99, and this semisonic knows" in shown and shown.endswith(
            "use a newer semisonic"
        )
    settings = project.folder / "project.yaml"
    settings.write_text(settings.read_text().replace("format: 1", "format: 2"))
    assert daily(project, "status") == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.endswith("project.yaml: its format is 2, and this semisonic knows 1; use a newer semisonic")


def test_no_project(tmp_path: Path, capsys: pytest.CaptureFixture):
    for line in ("status", "next", "train", "check"):
        assert cli.daily([str(tmp_path / "p"), line]) == 2
        (shown,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / 'p'}: there is no project (project.yaml); make one with" in shown
    assert not any(tmp_path.iterdir())


def test_a_full_disk(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """In the middle of an import, and where a training set and an export are written."""
    rows = [f"{image(project, number)},1" for number in range(12, 24)]
    file = tmp_path / f"{'l' * 200}.csv"  # whose name is a part of each event
    file.write_text("\n".join(["path,label", *rows]) + "\n")
    connect = database.connect

    def small(path: Path, create: bool = False) -> database.Connection:
        connection = connect(path, create)
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
        return connection

    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("semisonic.daily.store.store.connect", small)
        line = line_of(project, capsys, "import", file, "--who", "x" * 100)
    assert "labels.db: the disk is full, and nothing of this change was stored; free space, then try again" in line
    with monkeypatch.context() as patch:
        patch.setattr(atomic_files.os, "write", full)
        assert "No space left on device; free space" in line_of(project, capsys, "train")
        assert "No space left on device; free space" in line_of(project, capsys, "export", "--to", "csv")
        with project.store() as store:
            assert not store.revisions()
    assert daily(project, "import", file, "--who", "eve") == 0
    assert daily(project, "export", "--to", "csv") == 0


def test_a_label_that_another_has_changed_meanwhile(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert daily(project, "export", "--to", "csv", "--out", tmp_path / "l.csv") == 0
    with project.store() as store:
        now = store.now_of(2)
        store.record([Change(2, State.REVIEWED, 1, now.event)], "bob", "page:free")
        last = store.last_event
    text = (tmp_path / "l.csv").read_text().replace("001.png,1,", "001.png,2,")
    (tmp_path / "l.csv").write_text(text)
    assert daily(project, "import", tmp_path / "l.csv", "--who", "eve") == 5
    shown = capsys.readouterr().out
    assert f"left out: line 3: {image(project, 1)} is labeled 0 here, by bob on 2" in shown
    with project.store() as store:
        assert store.last_event == last and store.now_of(2).who == "bob"
