"""Places that a user has named are known; those that a configuration alone names are told."""

from pathlib import Path

import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.named_places import remember, strange_places


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def folder(**places: Path) -> DataConfig:
    return DataConfig(name="folder", size=16, **places)


def test_what_was_named_is_known_as_what_it_was(tmp_path: Path):
    cfg = folder(root=tmp_path / "data", csv=tmp_path / "list.csv")
    assert strange_places(cfg) == [
        f"data.root: the run's configuration names {tmp_path}/data, which no training of yours on this machine has read; give "
        f"--root {tmp_path}/data to read it",
        f"data.csv: the run's configuration names {tmp_path}/list.csv, which no training of yours on this machine has read; "
        f"give --csv {tmp_path}/list.csv to read it",
    ]
    remember(cfg)
    assert strange_places(cfg) == []
    (other,) = strange_places(folder(root=tmp_path / "list.csv", csv=tmp_path / "list.csv"))
    assert other.startswith("data.root: ")


def test_what_lies_in_the_root_that_is_named_now_is_read_and_nothing_beside_it(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("/")
    inside = folder(root=tmp_path / "data", test_root=tmp_path / "data" / "test")
    assert strange_places(inside, [tmp_path / "data"]) == []
    for beside in (Path("/"), tmp_path / "data" / ".." / "other", tmp_path / "data" / "link" / "etc"):
        (line,) = strange_places(folder(root=tmp_path / "data", test_root=beside), [tmp_path / "data"])
        assert line.startswith("data.test_root: ") and "; give --test-root " in line


def test_notes_that_cannot_be_looked_at_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("x" * 300)))  # which the system refuses, as a home of others
    remember(folder(root=tmp_path))
    (line,) = strange_places(folder(root=tmp_path))
    assert line.startswith("data.root: ")


def test_without_a_home_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "state").write_text("no folder")
    remember(folder(root=tmp_path))
    assert len(strange_places(folder(root=tmp_path))) == 1 and strange_places(DataConfig()) == []
