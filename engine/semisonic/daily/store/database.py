"""The SQLite file of a store: its tables, how it is opened, and what its errors mean in one line.

Whatever a person does is a row of `event`, which is only appended to: triggers refuse everything else. The tables
below "Derived" can be made again of the events and of the scores of the newest run.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.schema import UserError

APPLICATION = 0x53_53_44_4C
"""Marks the file as a store of labels, among other databases."""
PATIENCE = 60.0
"""Seconds that a change waits for another one."""
CACHE_KB = 65_536
RESTORE = "put a backup in its place, and remove the files -wal and -shm beside it"
"""An old write-ahead log would be read into the backup."""
JOURNAL = 2**26
"""Bytes that the write-ahead log keeps when all in it is in the database."""

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE day (number INTEGER PRIMARY KEY, began TEXT NOT NULL, last_event INTEGER NOT NULL);
CREATE TABLE image (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, day INTEGER NOT NULL REFERENCES day (number),
    bytes INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL);
CREATE INDEX image_day ON image (day);
CREATE TABLE path (
    id INTEGER PRIMARY KEY, image INTEGER NOT NULL REFERENCES image (id), path TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, day INTEGER NOT NULL);
CREATE INDEX path_image ON path (image);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('label', 'undo', 'auto', 'accept', 'class', 'note')),
    image INTEGER REFERENCES image (id), class INTEGER, state INTEGER, source TEXT NOT NULL, who TEXT NOT NULL,
    at TEXT NOT NULL, previous INTEGER REFERENCES event (id), run TEXT, key TEXT UNIQUE, details TEXT);
CREATE INDEX event_image ON event (image, id) WHERE image IS NOT NULL;
CREATE INDEX event_batch ON event (id) WHERE image IS NULL;
CREATE TRIGGER event_kept BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
CREATE TABLE queue (
    name TEXT NOT NULL, image INTEGER NOT NULL REFERENCES image (id), position REAL NOT NULL, day INTEGER NOT NULL,
    PRIMARY KEY (name, image)) WITHOUT ROWID;
CREATE INDEX queue_order ON queue (name, position);
CREATE INDEX queue_image ON queue (image);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, day INTEGER NOT NULL, at TEXT NOT NULL, method TEXT NOT NULL,
    seed INTEGER NOT NULL, population INTEGER NOT NULL, details TEXT, last_event INTEGER NOT NULL);
CREATE TABLE second_look (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image INTEGER NOT NULL REFERENCES image (id),
    first INTEGER NOT NULL REFERENCES event (id), who TEXT NOT NULL, at TEXT NOT NULL, state INTEGER NOT NULL,
    class INTEGER, key TEXT UNIQUE);
CREATE TRIGGER second_look_kept BEFORE UPDATE ON second_look
    BEGIN SELECT RAISE(ABORT, 'second looks are never changed'); END;
CREATE TRIGGER second_look_stays BEFORE DELETE ON second_look
    BEGIN SELECT RAISE(ABORT, 'second looks are never removed'); END;
CREATE TABLE revision (
    number INTEGER PRIMARY KEY, day INTEGER NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL, last_event INTEGER NOT NULL,
    images INTEGER NOT NULL, labeled INTEGER NOT NULL, digest TEXT NOT NULL, classes TEXT NOT NULL);
-- Derived.
CREATE TABLE class (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, position INTEGER NOT NULL, status TEXT NOT NULL, merged_into INTEGER);
CREATE UNIQUE INDEX class_name ON class (name) WHERE status = 'active';
CREATE TABLE now (
    image INTEGER PRIMARY KEY REFERENCES image (id), state INTEGER NOT NULL, class INTEGER, event INTEGER);
CREATE INDEX now_state ON now (state, class);
CREATE TABLE score (
    image INTEGER PRIMARY KEY REFERENCES image (id), run TEXT NOT NULL, class INTEGER NOT NULL, runner_up INTEGER,
    confidence REAL, certainty REAL, suspicion REAL, distance REAL);
CREATE INDEX score_suspicion ON score (suspicion);
CREATE INDEX score_class ON score (class, suspicion);
CREATE INDEX score_pair ON score (class, runner_up, suspicion);
CREATE TABLE accepted (image INTEGER PRIMARY KEY REFERENCES image (id), event INTEGER NOT NULL);
CREATE TABLE audit_image (
    audit INTEGER NOT NULL REFERENCES audit (id), image INTEGER NOT NULL REFERENCES image (id),
    stratum INTEGER NOT NULL, class INTEGER NOT NULL, certainty REAL, event INTEGER, PRIMARY KEY (audit, image))
    WITHOUT ROWID;
CREATE INDEX audit_image_image ON audit_image (image);
"""

MIGRATIONS = (_FIRST,)
"""What makes a store of version N of one of version N - 1. A step that was released is never changed."""
VERSION = len(MIGRATIONS)


class DatabaseProblem(UserError):
    """What the database refuses: it is damaged, read only, or its disk is full."""


class Cursor(sqlite3.Cursor):
    """Its errors are lines for the user."""

    connection: "Connection"

    def execute(self, sql: str, parameters: Any = ()) -> "Cursor":
        try:
            super().execute(sql, parameters)
        except sqlite3.Error as error:
            raise told(error, self.connection.path) from error
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> "Cursor":
        try:
            super().executemany(sql, parameters)
        except sqlite3.Error as error:
            raise told(error, self.connection.path) from error
        return self

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.Error as error:
            raise told(error, self.connection.path) from error

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except sqlite3.Error as error:
            raise told(error, self.connection.path) from error

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.Error as error:
            raise told(error, self.connection.path) from error


class Connection(sqlite3.Connection):
    """One that a thread has for itself; without Python's own transactions."""

    path: Path

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Any:
        return self.cursor().executemany(sql, parameters)


_DAMAGE = re.compile(r"no such (table|column)|malformed|foreign key mismatch|Could not decode", re.IGNORECASE)
"""Of a statement that this program has written, only in a file whose tables are not its own any more."""


def told(error: sqlite3.Error, path: Path) -> Exception:
    """What an error of the database means for the user; a mistake of the code stays as it is."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            text = f"another process has been changing it for {PATIENCE:.0f} s; try again"
        case sqlite3.SQLITE_FULL:
            text = "the disk is full, and nothing of this change was stored; free space, then try again"
        case sqlite3.SQLITE_READONLY:
            text = "it is read only, and nothing of this change was stored; make it and its folder writable"
        case sqlite3.SQLITE_CANTOPEN:
            text = "it cannot be opened; it needs a folder that can be written"
        case sqlite3.SQLITE_IOERR:
            text = f"the disk refuses to read or write it ({error}), and nothing of this change was stored"
        case sqlite3.SQLITE_NOTADB:
            text = f"it is no store of labels; {RESTORE}"
        case sqlite3.SQLITE_CORRUPT:
            text = f"it is damaged ({error}); {RESTORE}"
        case sqlite3.SQLITE_NOMEM:
            text = "there is not enough memory"
        case sqlite3.SQLITE_ERROR if _DAMAGE.match(str(error)):
            text = f"it is damaged ({error}); {RESTORE}"
        case _:
            return error
    return DatabaseProblem(f"{path}: {text}")


def connect(path: Path, create: bool = False) -> Connection:
    """A connection to the store in a file, at the present version. create: where there is none, an empty one is made.

    Raises `UserError` where the file is none, or that of a later version.
    """
    if not create and not path.exists():
        raise DatabaseProblem(f"{path}: no such file; is this the folder of a project?")
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", PATIENCE, isolation_level=None, factory=Connection, uri=True
        )
    except sqlite3.Error as error:
        raise told(error, path) from error
    connection.path = path
    try:
        for setting in (
            "foreign_keys = ON",
            "synchronous = FULL",
            f"cache_size = -{CACHE_KB}",
            "temp_store = MEMORY",
            f"journal_size_limit = {JOURNAL}",
        ):
            connection.execute(f"PRAGMA {setting}")
        migrate(connection)
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":  # a backup that was put in its place
            connection.execute("PRAGMA journal_mode = WAL")
    except UnicodeDecodeError as error:  # SQLite's message quotes what it cannot read
        connection.close()
        raise DatabaseProblem(f"{path}: it is damaged; {RESTORE}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: Connection) -> None:
    """Brings a store to the present version, in one transaction; an empty file becomes one."""
    if (version := _version(connection)) == VERSION:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        version = _version(connection)  # another process may have been first
        for script in MIGRATIONS[version:]:
            for statement in statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: Connection) -> int:
    """That of the store, 0 for an empty file. Raises `UserError` where it is another program's, or a later version."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark != APPLICATION and (tables or version):
        raise DatabaseProblem(f"{connection.path}: it is a database of another program, and no store of labels")
    if version > VERSION:
        raise DatabaseProblem(
            f"{connection.path}: its version is {version}, and this semisonic knows {VERSION}; use a newer semisonic"
        )
    return version


def schema(connection: Any) -> dict[tuple[str, str], str]:
    """Kind and name of each table, index and trigger -> its statement."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): sql for kind, name, sql in rows if not name.startswith("sqlite_")}


def own_schema() -> dict[tuple[str, str], str]:
    """What `schema` is of a store of the present version."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS:
            connection.executescript(script)
        return schema(connection)


def statements(script: str) -> Iterator[str]:
    """The statements of a script, each whole; `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All or nothing of what is changed inside. One inside another is a part of it, which can fail for itself."""
    outer = not connection.in_transaction
    connection.execute("BEGIN IMMEDIATE" if outer else "SAVEPOINT part")
    try:
        yield
        connection.execute("COMMIT" if outer else "RELEASE part")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            for statement in ("ROLLBACK",) if outer else ("ROLLBACK TO part", "RELEASE part"):
                connection.execute(statement)
        raise


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """All that is read inside is of one moment, while others go on to write."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def read_table(connection: Connection, sql: str, columns: int, parameters: Any = ()) -> np.ndarray:
    """All rows of a query for numbers, as int64 [N, columns]. NULL is a mistake: it has to be given a number."""
    return _read(connection, sql, parameters, np.int64).reshape(-1, columns)


def read_floats(connection: Connection, sql: str, columns: int, parameters: Any = ()) -> np.ndarray:
    """The same as float64 [N, columns]; NULL is NaN."""
    return _read(connection, sql, parameters, np.float64).reshape(-1, columns)


def _read(connection: Connection, sql: str, parameters: Any, kind: type) -> np.ndarray:
    try:
        rows = connection.cursor(sqlite3.Cursor).execute(sql, parameters)
        return np.fromiter(chain.from_iterable(rows), kind)  # a Python call for each of a million rows would show
    except sqlite3.Error as error:
        raise told(error, connection.path) from error
