"""Classes over time: added, renamed, merged, split and retired by events, of which the present ones are made.

A class is its number for ever: labels, runs and exports name it so, whatever is done to it later. A label of a class
that was merged is one of the class it was merged into; one of a class that was split or retired counts no more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from semisonic.daily.store.database import Connection
from semisonic.daily.store.events import Event, select, undone
from semisonic.daily.store.rows import NONE, ClassRow
from semisonic.schema import UserError
from semisonic.text import name_of

LONGEST = 200
"""Characters of a class's name."""
MOST = 100_000
ACTIVE, MERGED, RETIRED = "active", "merged", "retired"


class Unfounded(Exception):
    """A change of classes that cannot follow those before it."""


@dataclass
class Classes:
    """All classes there ever were, as they are now."""

    rows: dict[int, ClassRow] = field(default_factory=dict)
    split_from: dict[int, int] = field(default_factory=dict)
    """A class that others were split into: each of them -> it."""

    def active(self) -> list[ClassRow]:
        """In the order in which they were added, which is that of a run's classes."""
        return sorted((row for row in self.rows.values() if row.status == ACTIVE), key=lambda row: row.position)

    def every(self) -> list[ClassRow]:
        return sorted(self.rows.values(), key=lambda row: row.position)

    def resolve(self, class_id: int | None) -> int | None:
        """The active class that labels of a class count for; None: none."""
        row = None if class_id is None else self.rows.get(class_id)
        while row is not None and row.status == MERGED:
            assert row.merged_into is not None
            row = self.rows[row.merged_into]
        return row.id if row is not None and row.status == ACTIVE else None

    def resolution(self) -> np.ndarray:
        """`resolve` as int64 [largest number + 2]: entry -1, the last, is that of no class."""
        found = np.full(max(self.rows, default=0) + 2, NONE, np.int64)
        for number in self.rows:
            target = self.resolve(number)
            found[number] = NONE if target is None else target
        return found

    def merged(self, class_id: int) -> list[int]:
        """All classes whose labels count for a class, itself among them."""
        return [number for number in self.rows if self.resolve(number) == class_id]

    def named(self, name: str) -> ClassRow | None:
        return next((row for row in self.rows.values() if row.status == ACTIVE and row.name == name), None)

    def by_name(self) -> dict[str, int]:
        """What a label of a name counts for: an active class, or the one that its class was merged into."""
        found = {}
        for row in self.every():
            if row.status == MERGED and (target := self.resolve(row.id)) is not None:
                found[row.name] = target
        return found | {row.name: row.id for row in self.active()}

    # Changes, each of which raises `Unfounded`.

    def apply(self, change: Mapping[str, Any]) -> None:
        match change["do"]:
            case "add":
                self._add(change["id"], change["name"])
            case "rename":
                self._free(change["name"])
                self._set(change["id"], name=change["name"])
            case "merge":
                self._need(change["into"])
                self._set(change["id"], status=MERGED, merged_into=change["into"])
            case "split":
                self._set(change["id"], status=RETIRED)
                for part in change["parts"]:
                    self._add(part["id"], part["name"])
                    self.split_from[part["id"]] = change["id"]
            case "retire":
                self._set(change["id"], status=RETIRED)
            case other:
                raise Unfounded(f"{name_of(other)} is no change of classes")

    def skip(self, change: Mapping[str, Any]) -> None:
        """What an undone change leaves behind: its new classes are there, for labels name them, and out of use."""
        parts = [change] if change["do"] == "add" else change["parts"] if change["do"] == "split" else []
        for part in parts:
            self._add(part["id"], part["name"], RETIRED)

    def _add(self, number: int, name: str, status: str = ACTIVE) -> None:
        if status == ACTIVE:
            self._free(name)
        self.rows[number] = ClassRow(number, name, len(self.rows), status)

    def _free(self, name: str) -> None:
        if self.named(name):
            raise Unfounded(f"there is a class {name_of(name)} already")

    def _need(self, number: int) -> ClassRow:
        row = self.rows[number]
        if row.status != ACTIVE:
            raise Unfounded(f"the class {name_of(row.name)} is {row.status}")
        return row

    def _set(self, number: int, **fields: Any) -> None:
        self.rows[number] = replace(self._need(number), **fields)


def history(connection: Connection) -> list[Event]:
    """All events that are of no single image, in their order."""
    return select(connection, "image IS NULL ORDER BY id")


def fold(events: Iterable[Event]) -> Classes:
    """The classes that events make. Raises `Unfounded` with the number of the event that cannot be."""
    events = list(events)
    out, found = undone(events), Classes()
    for event in events:
        if event.kind != "class":
            continue
        if event.id in out:
            found.skip(event.details)
            continue
        try:
            found.apply(event.details)
        except Unfounded as error:
            raise Unfounded(f"event {event.id} ({event.details['do']}) builds on it: {error}") from error
    return found


def read_classes(connection: Connection) -> Classes:
    """As the table `class` has them; without what they were split from, which `fold` knows."""
    rows = connection.execute("SELECT id, name, position, status, merged_into FROM class").fetchall()
    return Classes({row[0]: ClassRow(*row) for row in rows})


def write_classes(connection: Connection, classes: Classes) -> None:
    connection.execute("DELETE FROM class")
    connection.executemany(
        "INSERT INTO class (id, name, position, status, merged_into) VALUES (?, ?, ?, ?, ?)",
        [(row.id, row.name, row.position, row.status, row.merged_into) for row in classes.rows.values()],
    )


def class_name(text: str) -> str:
    """A name that a class may have, without spaces around it. Raises `UserError`."""
    name = text.strip()
    problem = (
        "is empty" if not name
        else f"has {len(name)} characters; at most {LONGEST} are allowed" if len(name) > LONGEST
        else "is not text that can be written" if not _writable(name)
        else ""
    )  # fmt: skip
    if problem:
        raise UserError(f"classes: the name {name_of(repr(text))} {problem}")
    return name


def _writable(name: str) -> bool:
    try:
        return "\0" not in name and bool(name.encode())
    except UnicodeEncodeError:
        return False


def new_names(classes: Classes, names: Sequence[str], freed: str | None = None) -> list[str]:
    """Names for new classes. freed: the name of one that ends with the change. Raises `UserError`, a line each."""
    problems, found = [], []
    for text in names:
        try:
            name = class_name(text)
        except UserError as error:
            problems += error.messages
            continue
        if name in found or (name != freed and classes.named(name)):
            problems.append(f"classes: there is a class {name_of(name)} already; each has a name of its own")
        found.append(name)
    if len(classes.rows) + len(found) > MOST:
        problems.append(f"classes: a project has at most {MOST:,} classes")
    if problems:
        raise UserError(problems)
    return found


def need(classes: Classes, name: str) -> ClassRow:
    """The active class of a name. Raises `UserError`."""
    if row := classes.named(name.strip()):
        return row
    old = [row for row in classes.rows.values() if row.name == name.strip()]
    if old and old[-1].merged_into is not None:
        target = classes.resolve(old[-1].id)
        into = f" into {name_of(classes.rows[target].name)}" if target is not None else ""
        raise UserError(f"classes: {name_of(name)} was merged{into}")
    if old:
        raise UserError(f"classes: {name_of(name)} is retired; undo that, or add a class of another name")
    known = ", ".join(name_of(row.name) for row in classes.active()[:10])
    more = f" and {len(classes.active()) - 10} more" if len(classes.active()) > 10 else ""
    raise UserError(f"classes: there is no class {name_of(name)}; the classes are {known or 'none'}{more}")


def head_rows(run_classes: Sequence[tuple[int, str]], now: Classes) -> list[list[int]]:
    """For each active class, in order, the rows of an earlier run's head that its own begins as the mean of.

    run_classes: number and name of each class of that run, in the order of its head. Those that were merged since are
    one row, a class that was split is that of each of its parts, and [] is a class that the run did not know.
    """
    place = {number: row for row, (number, _) in enumerate(run_classes)}
    found = []
    for row in now.active():
        own = sorted(place[number] for number in now.merged(row.id) if number in place)
        origin: int | None = row.id
        while not own and origin is not None:
            origin = now.split_from.get(origin)
            own = [place[origin]] if origin in place else []
        found.append(own)
    return found
