"""What `check` finds: anything derived that is not what the events make, broken chains, and files that are gone."""

import sqlite3
from pathlib import Path

import pytest

from semisonic.daily.store import ANY, Change, State, Store
from semisonic.schema import UserError
from tests.support.daily import WHO, batch, new_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = new_store(tmp_path, 4, labeled=2)
    store.take_over("day-001", [batch([1, 2, 1, 2])], WHO)
    store.new_audit("day-001", 1, "simple", 0, 4, {}, [(3, 0, 1, 0.5)])
    store.record([Change(3, State.GIVEN, 2, ANY), Change(3, State.GIVEN, 1, ANY)], WHO, "page:audit")
    store.undo([store.last_event], WHO)
    store.freeze("day-001")
    assert store.check(hashes=True) == []
    return store


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ("UPDATE now SET class = 2 WHERE image = 1", "now: image 1: class_id is 2, the events make it 1"),
        ("UPDATE now SET state = 0, class = NULL WHERE image = 4", "now: image 4: state is 0, the events make it 1"),
        ("DELETE FROM now WHERE image = 2", "now: it has not a row for each image"),
        ("UPDATE class SET name = 'fox' WHERE id = 2", "class: number 2 is not what the events make of it"),
        ("INSERT INTO accepted VALUES (4, 1)", "accepted: it is not what the events make"),
        ("UPDATE audit_image SET event = 1", "audit 1: the first look at image 3 is event 7, and it names 1"),
        ("UPDATE score SET class = 9 WHERE image = 1", "class 9: there is none of this number"),
        ("DROP TRIGGER event_stays; DELETE FROM event WHERE id = 7", "labels.db: row 8 of event names a row of event that is not there"),
        ("DROP TRIGGER event_kept; UPDATE event SET details = '{\"event\": 1}' WHERE id = 9", "event 9: it undoes event 1, which is"),
        ("DROP TRIGGER event_kept; UPDATE event SET previous = 1 WHERE id = 8", "event 8: it follows event 1, and the one"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM image WHERE id = 4", "labels.db: row 4 of"),
        ("DROP TRIGGER event_kept", "labels.db: the trigger event_kept is not as this version makes it"),
        ("DROP INDEX score_pair", "labels.db: the index score_pair is not as this version makes it"),
        ("DROP TRIGGER event_stays; DELETE FROM event WHERE kind = 'auto'", "event: there are 8, and 9 were made"),
        ("DROP TRIGGER event_kept; UPDATE event SET details = '{' WHERE id = 9", "labels.db: it is damaged (JSONDec"),
    ],
)  # fmt: skip
def test_damage_is_told(store: Store, damage: str, line: str):
    with sqlite3.connect(store.path) as other:
        other.executescript(damage)
    other.close()
    problems = store.check(files=False)
    assert any(problem.startswith(line) for problem in problems), problems


def test_files_are_looked_for(store: Store, tmp_path: Path):
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "images/2.png").write_text("another")
    end = "put it back, or add it where it lies now"
    assert store.check() == [
        f"1 image is gone: image 1 ({tmp_path}/images/1.png); {end}",
        f"1 image is changed: image 2 ({tmp_path}/images/2.png); {end}",
    ]
    (tmp_path / "revisions/0001.csv").write_text("path,label\n")
    assert store.check(files=False) == ["revisions/0001.csv: it was changed since day-001 was trained on it"]
    (tmp_path / "revisions/0001.csv").unlink()
    (line,) = store.check(files=False)
    assert line == "revisions/0001.csv: No such file or directory; it is what day-001 was trained on"


def test_hashes_find_what_sizes_and_times_do_not(store: Store, tmp_path: Path):
    import os

    path = tmp_path / "images/1.png"
    before = path.stat()
    path.write_text("x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.check() == []
    (line,) = store.check(hashes=True)
    assert line.startswith("1 image is changed: image 1")


def test_a_backup_is_whole_while_others_write(store: Store, tmp_path: Path):
    with Store.open(store.path) as other, other.transaction():
        other.add_class("newt", WHO)
        store.backup(tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.glob("*copy*")) == ["copy.db"]
    with Store.open(tmp_path / "copy.db") as copy:
        assert copy.check() == [] and len(copy.classes()) == 3 and len(copy.current()) == 4
    with Store.open(tmp_path / "copy.db") as copy, Store.open(tmp_path / "copy.db") as other:
        assert list(copy.connection.execute("SELECT 1"))  # a reader
        other.add_class("eft", WHO)
        assert copy.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    with pytest.raises(UserError, match=r"copy.db: there is a file already; give another name"):
        store.backup(tmp_path / "copy.db")
    with pytest.raises(UserError):
        store.backup(tmp_path / "none/copy.db")
