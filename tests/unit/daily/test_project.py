"""The folder of a project: made whole or not at all, its settings read strictly, one heavy step at a time."""

from pathlib import Path

import pytest
import yaml

from semisonic.checkpoint.folder_lock import FolderLock
from semisonic.daily.project import FILE, Project
from semisonic.schema import UserError
from tests.support.daily import new_image


def make(folder: Path, **fields) -> Project:
    return Project.create(folder, **{"classes": ["cat", "dog"], "size": 32, "who": "ann"} | fields)


def test_a_project_is_made_and_opened(tmp_path: Path):
    made = make(tmp_path / "pets", fields={"steps": 200})
    assert yaml.safe_load((made.folder / FILE).read_text()) == {
        "format": 1, "name": "pets", "size": 32, "classes": ["cat", "dog"], "fields": {"steps": 200}, "audit": 100,
        "looks": {"farthest": 10, "suspicious": 15, "given": 10},
    }  # fmt: skip
    said: list[str] = []
    project = Project.open(made.folder, said.append)
    assert (project.size, project.day, project.settings.fields, said) == (32, 1, {"steps": 200}, [])
    with project.store() as store:
        assert [(row.id, row.name) for row in store.classes()] == [(1, "cat"), (2, "dog")]
    with pytest.raises(UserError, match="there is a project already"):
        make(tmp_path / "pets")


def test_one_that_was_left_half_made_is_made_whole(tmp_path: Path):
    (tmp_path / "labels.db").touch()  # a kill left it so
    project = make(tmp_path)
    (tmp_path / FILE).unlink()  # or so
    assert make(tmp_path).day == 1
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match="there is a store already"):
        make(tmp_path, classes=["cat", "owl"])
    with project.store() as store:
        store.add_images([new_image(tmp_path, "a.png")], "ann")
    with pytest.raises(UserError, match="there is a store already"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"classes": ["cat", "cat"]}, "init: classes: cat is in it twice"),
        ({"classes": []}, "init: classes: a list of 0: list should have at least 1 item after validation, not 0"),
        ({"size": 0}, "init: size: 0: input should be greater than or equal to 1"),
        ({"who": "a\nb"}, "--who: 'a\\nb' is not valid; expected a name of 1 to 100 characters in one line"),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(tmp_path: Path, fields: dict, line: str):
    with pytest.raises(UserError) as caught:
        make(tmp_path / "pets", **fields)
    assert caught.value.messages == [line]
    assert not (tmp_path / "pets" / FILE).exists() and not (tmp_path / "pets/labels.db").exists()


def test_settings_are_read_strictly(tmp_path: Path):
    project = make(tmp_path)
    path = tmp_path / FILE
    content = yaml.safe_load(path.read_text())
    for change, line in (
        ({"format": 2}, "its format is 2, and this semisonic knows 1; use a newer semisonic"),
        ({"size": "32"}, "size: '32': input should be a valid integer"),
        ({"sise": 32}, "sise: 32: extra inputs are not permitted"),
        ({"looks": {"free": 3}}, "looks.free: 'free': input should be 'farthest', 'suspicious' or 'given'"),
    ):
        path.write_text(yaml.safe_dump(content | change))
        with pytest.raises(UserError) as caught:
            Project.open(tmp_path)
        assert any(message.startswith(f"{path}: {line}") for message in caught.value.messages), caught.value.messages
    path.unlink()
    with pytest.raises(
        UserError, match=r"there is no project \(project.yaml\); make one with `semisonic daily .* init`"
    ):
        Project.open(project.folder)


def test_classes_of_the_store_are_mirrored_and_all_else_stays(tmp_path: Path):
    project = make(tmp_path)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace("size: 32", "size: 48  # as the camera has them"))
    with project.store() as store:
        store.add_class("<script>: x", "ann")
    assert "size: 48  # as the camera has them\nclasses:\n- cat\n- dog\n- '<script>: x'\nfields" in path.read_text()
    assert project.settings.classes == ["cat", "dog", "<script>: x"] and project.size == 48


def test_classes_that_were_changed_by_hand_are_told_and_written_anew(tmp_path: Path):
    project = make(tmp_path)
    path = tmp_path / FILE
    path.write_text(path.read_text().replace("classes:\n- cat\n- dog\n", "classes: [dog, cat]\n"))
    said: list[str] = []
    assert Project.open(tmp_path, said.append).settings.classes == ["cat", "dog"]
    (line,) = said
    assert line.startswith(f"{path}: its classes are not the project's, and are written anew; change classes with")
    assert project.settings == Project.open(tmp_path, said.append).settings and len(said) == 1


def test_runs_of_a_day_are_in_their_order(tmp_path: Path):
    project = make(tmp_path)
    assert project.runs_of(3) == []
    for name in ("day-003", "day-003-2", "day-003-10", "day-003-fold-1", "day-004", "day-0030"):
        (project.runs / name).mkdir(parents=True)
    assert project.runs_of(3) == [project.run_name(3), project.run_name(3, 2), "day-003-10"]


def test_one_heavy_step_at_a_time(tmp_path: Path):
    project = make(tmp_path)
    with project.lock("train"), pytest.raises(UserError) as caught, project.lock("train"):
        pass
    assert caught.value.messages[0].startswith(f"train: another `train` is at work in {tmp_path}: process ")
    with project.lock("train"), pytest.raises(UserError, match=r"^label: `train` is at work in"), project.lock("label"):
        pass
    FolderLock(tmp_path).release()  # it is free again
