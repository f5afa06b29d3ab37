"""`add`: each new file is decoded once, known ones are skipped, and what cannot be used is listed and left out."""

import argparse
import csv
from pathlib import Path

import pytest

from semisonic.daily.adding import add, run, told
from semisonic.daily.project import Project
from semisonic.data.sets import manifest
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.schema import ExitCode, UserError
from semisonic.text import csv_text
from tests.support.image_folders import write_images

WHO = "ann"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project.create("pets", ["cat", "dog"], 16, {}, WHO)


def lines_of(project: Project, source: Path, **options) -> list[str]:
    with pytest.raises(UserError) as caught:
        add(project, source, WHO, **options)
    return caught.value.messages


def test_a_training_s_scan_finds_all_known(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_images(tmp_path / "pets/camera", "1.png 2.png")  # inside of the project's folder
    write_images(tmp_path / "outside/cat", "1.png 2.jpg")
    write_images(tmp_path / "outside/dog", "1.png")
    assert add(project, "pets/camera", WHO).added.new == 2
    assert add(project, Path("outside"), WHO, labels=True).added.labeled == 3
    with project.store() as store:
        revision = store.freeze("day-001")
        assert store.current().class_id.tolist() == [-1, -1, 1, 1, 2] and store.check(hashes=True) == []
    monkeypatch.setattr(manifest, "examine", lambda *_, **__: pytest.fail("read again"))
    assert add(project, Path("outside"), WHO, labels=True).added.known == 3
    data = load_data_set(
        DataConfig(
            name="folder", csv=revision.path, root=Path("pets"), size=16, labels=None, test="none",
            classes=("cat", "dog"),
        )
    )  # fmt: skip
    assert len(data.train) == 5 and sorted(data.train.labels.tolist()) == [-1, -1, 0, 0, 1]


def test_bad_files_are_listed_and_left_out(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture):
    write_images(tmp_path / "new", "1.png")
    bad = tmp_path / "new/two\nlines.png"
    bad.write_text("no image")
    (tmp_path / "new/note.txt").write_text("")
    args = argparse.Namespace(source=tmp_path / "new", who=WHO, labels="none", add_classes=False)
    assert run(project, args) == ExitCode.LEFT_OUT == 5
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("1 file passed over, no image by name")
    assert shown[1:] == [
        "Day 1: 1 new",
        f"1 file cannot be used and is left out; all in {project.report}/day-001-left-out.csv",
        f"  {tmp_path}/new/two\\nlines.png: not an image",
    ]
    with (project.report / "day-001-left-out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert csv_text(row["path"]) == str(bad) and "\n" not in row["path"] and row["reason"] == "not an image"


def test_labels_of_folders_are_taken_where_that_is_asked_for(project: Project, tmp_path: Path):
    write_images(tmp_path / "new/cat", "1.png")
    write_images(tmp_path / "new/owl", "1.png")
    plain = add(project, tmp_path / "new", WHO)
    assert (plain.added.new, plain.added.labeled) == (2, 0)
    assert plain.notes == ["the folders cat are called like classes, but labels are taken from none; --labels folders does"]  # fmt: skip
    (line,) = lines_of(project, tmp_path / "new", labels=True)
    assert line == (
        f"add: {tmp_path}/new has images of classes that the project has not: owl; add them with `classes add` or "
        "--add-classes, or leave labels out with --labels none"
    )
    found = add(project, tmp_path / "new", WHO, labels=True, add_classes=True).added
    assert (found.new, found.known, found.labeled) == (0, 2, 2)
    assert Project.open(project.folder, pytest.fail).settings.classes == ["cat", "dog", "owl"]


def test_a_class_is_not_added_where_its_images_are_not(project: Project, tmp_path: Path):
    write_images(tmp_path / "new/cat", "1.png")
    write_images(tmp_path / "new/owl", "2.png")
    (tmp_path / "new/owl/1.png").write_bytes((tmp_path / "new/cat/1.png").read_bytes())
    assert lines_of(project, tmp_path / "new", labels=True, add_classes=True) == [
        f"{tmp_path}/new/owl/1.png: is labeled owl, and the same image cat elsewhere"
    ]
    with project.store() as store:
        assert [row.name for row in store.classes()] == ["cat", "dog"] and len(store.current()) == 0


def test_the_next_day_is_told(project: Project, tmp_path: Path):
    write_images(tmp_path / "monday", "1.png")
    add(project, tmp_path / "monday", WHO)
    with project.store() as store:
        store.freeze("day-001")
    write_images(tmp_path / "tuesday", "2.png 3.png")
    outcome = add(project, tmp_path / "tuesday", WHO)
    assert told(project, outcome) == [
        "Day 2 begins: a training of day 1 has begun, and these images are new", "Day 2: 2 new",
    ]  # fmt: skip
    assert told(project, add(project, tmp_path / "monday", WHO)) == ["Day 2: 0 new; 1 known already"]


def test_a_stopped_add_reads_nothing_twice(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_images(tmp_path / "new", "1.png 2.png 3.png")
    monkeypatch.setattr("semisonic.daily.adding.SLICE", 2)
    read, examine = [], manifest.examine

    def once(path: str, *rest, **options):
        read.append(Path(path).name)
        if len(read) == 3:
            raise KeyboardInterrupt
        return examine(path, *rest, **options)

    monkeypatch.setattr(manifest, "examine", once)
    with pytest.raises(KeyboardInterrupt):
        add(project, tmp_path / "new", WHO)
    assert add(project, tmp_path / "new", WHO).added.new == 3
    assert read == ["1.png", "2.png", "3.png", "3.png"]
