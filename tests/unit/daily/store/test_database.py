"""The file of a store: versions, what is refused, and errors in one line with nothing half done."""

import sqlite3
from pathlib import Path

import pytest

from semisonic.daily.store import Change, DatabaseProblem, State, Store, database
from semisonic.daily.store.database import MIGRATIONS, VERSION, connect, snapshot, statements, transaction
from tests.support.daily import WHO, new_image, new_store


def lines_of(path: Path) -> list[str]:
    with pytest.raises(DatabaseProblem) as caught:
        Store.open(path)
    return caught.value.messages


def test_it_is_durable_and_strict(tmp_path: Path):
    store = new_store(tmp_path)
    found = {name: store.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in
             ("journal_mode", "synchronous", "foreign_keys", "user_version")}  # fmt: skip
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "user_version": VERSION}


@pytest.mark.parametrize("table", ["event", "second_look"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET who = 'bob'", "DELETE FROM {}"])
def test_what_was_said_cannot_be_changed(tmp_path: Path, table: str, statement: str):
    store = new_store(tmp_path, 1, labeled=1)
    store.second_look(1, store.last_event, "bob", State.GIVEN, 1)
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        store.connection.execute(statement.format(table))


def test_a_later_version_is_refused(tmp_path: Path):
    path = new_store(tmp_path).path
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
    assert lines_of(path) == [
        f"{path}: its version is {VERSION + 1}, and this semisonic knows {VERSION}; use a newer semisonic"
    ]


def test_an_earlier_version_is_brought_up_to_date_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = new_store(tmp_path, 2, labeled=1).path
    for scripts, version in ((("CREATE TABLE a (b);", "wrong;"), VERSION), (("CREATE TABLE a (b);",), VERSION + 1)):
        monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, *scripts))
        monkeypatch.setattr(database, "VERSION", VERSION + len(scripts))
        if version == VERSION:
            with pytest.raises(sqlite3.OperationalError):
                Store.open(path)
        else:
            with Store.open(path) as store:
                assert store.check() == [] and store.connection.execute("SELECT count(*) FROM a").fetchone() == (0,)
        with sqlite3.connect(path) as other:
            assert other.execute("PRAGMA user_version").fetchone() == (version,)


def test_what_is_no_store_is_refused(tmp_path: Path):
    path = tmp_path / "labels.db"
    assert lines_of(path) == [f"{path}: no such file; is this the folder of a project?"]
    path.write_bytes(b"not a database, and long enough to be none" * 100)
    assert lines_of(path) == [
        f"{path}: it is no store of labels; put a backup in its place, and remove the files -wal and -shm beside it"
    ]
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE image (id)")
    assert lines_of(path) == [f"{path}: it is a database of another program, and no store of labels"]
    path.unlink()
    connect(path, create=True).close()
    assert lines_of(path) == [f"{path}: it was never finished; make it with `init`"]


def test_a_damaged_one_is_one_line(tmp_path: Path):
    store = new_store(tmp_path, 300, labeled=300)
    path = store.path
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    content = bytearray(path.read_bytes())
    for begin in range(4096, len(content), 4096):
        content[begin : begin + 64] = b"\xff" * 64
    path.write_bytes(content)
    with (
        pytest.raises(
            DatabaseProblem,
            match=r"labels.db: it is damaged \(.*\); put a backup in its place, and remove the files -wal and -shm",
        ),
        Store.open(path) as opened,
    ):
        opened.current()  # fmt: skip


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path):
    store = new_store(tmp_path, 3)
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages}")
    images = [new_image(tmp_path, f"new-{i}.png", "cat") for i in range(500)]
    with pytest.raises(DatabaseProblem) as caught:
        store.add_images(images, WHO)
    assert caught.value.messages == [
        f"{store.path}: the disk is full, and nothing of this change was stored; free space, then try again"
    ]
    assert not store.connection.in_transaction and len(store.current()) == 3 and store.check() == []
    store.connection.execute("PRAGMA max_page_count = 100000")
    assert store.add_images(images, WHO).new == 500


def test_a_disk_that_is_read_only_is_one_line(tmp_path: Path):
    store = new_store(tmp_path, 1)
    store.connection.execute("PRAGMA query_only = ON")
    with pytest.raises(DatabaseProblem) as caught:
        store.record([Change(1, State.GIVEN, 1, None)], WHO, "command")
    assert caught.value.messages == [
        f"{store.path}: it is read only, and nothing of this change was stored; make it and its folder writable"
    ]


def test_who_writes_for_long_is_waited_for_and_then_told(tmp_path: Path):
    store = new_store(tmp_path, 1)
    with Store.open(store.path) as other:
        other.connection.execute("PRAGMA busy_timeout = 20")
        with (
            store.transaction(),
            pytest.raises(DatabaseProblem, match=r"another process has been changing it for 60 s"),
        ):
            other.add_class("newt", WHO)
        assert other.add_class("newt", WHO).id == 4


def test_a_part_of_a_transaction_fails_for_itself(tmp_path: Path):
    connection = new_store(tmp_path).connection

    def put(key: str) -> None:
        connection.execute("INSERT INTO meta VALUES (?, '')", (key,))

    with transaction(connection):
        put("a")
        with pytest.raises(KeyError), transaction(connection):
            put("b")
            raise KeyError
        put("c")
    with pytest.raises(KeyError), transaction(connection):
        put("d")
        raise KeyError
    assert connection.execute("SELECT key FROM meta ORDER BY key").fetchall() == [("a",), ("c",)]


def test_a_snapshot_is_of_one_moment(tmp_path: Path):
    store = new_store(tmp_path)
    with Store.open(store.path) as other, snapshot(store.connection):
        assert len(store.classes()) == 3
        other.add_class("newt", WHO)
        assert len(store.classes()) == 3
    assert len(store.classes()) == 4


def test_statements_of_a_script_are_whole():
    script = "CREATE TABLE a (b);\nCREATE TRIGGER c BEFORE DELETE ON a BEGIN\n  SELECT 1; SELECT 2;\nEND;\n"
    assert len(list(statements(script))) == 2
