"""`daily PROJECT import`: labels that were made or changed elsewhere become events, of the person who gave them."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from semisonic.daily.exchange.answers import Answer, Standing, Wrong, answer_of, is_newer, is_same
from semisonic.daily.exchange.finding import BATCH, Names, file_problem, find
from semisonic.daily.exchange.label_studio import read_tasks
from semisonic.daily.exchange.rows import Row, row_problem
from semisonic.daily.exchange.tables import read_csv, read_parquet
from semisonic.daily.exchange.tree import read_tree
from semisonic.daily.project import Project
from semisonic.daily.store import Change, State, Store
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of, printable

READERS = {".csv": read_csv, ".parquet": read_parquet, ".json": read_tasks}
SHOWN = 50
"""Lines of one kind that are told; the others are counted."""


class Said(NamedTuple):
    """An answer on an image of the project."""

    image: int
    answer: Answer
    row: Row


@dataclass
class Outcome:
    """What became of an import."""

    new: int = 0
    """Images that no person had looked at."""
    changed: int = 0
    same: int = 0
    silent: int = 0
    """Rows in which no person says anything."""
    problems: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def run(project: Project, args: argparse.Namespace) -> int:
    with project.store() as store:
        outcome = import_labels(store, args.source, args.who, args.overrule, args.partly)
    for line in [*_shortened(outcome.problems), *_shortened(outcome.conflicts)]:
        print(printable(f"left out: {line}"))
    print(printable(_told(outcome, args)))
    return ExitCode.LEFT_OUT if outcome.problems or outcome.conflicts else ExitCode.OK


def import_labels(store: Store, source: Path, who: str, overrule: bool = False, partly: bool = False) -> Outcome:
    """Records what the rows of a file or tree say, all of it or nothing.

    overrule: also where a person's label is newer than the export. partly: in spite of mistakes, without the rows that
    have them. Raises `UserError` with a line for each mistake.
    """
    outcome = Outcome()
    said = _read(store, source, outcome)
    files = _files(store, said)
    with store.transaction():
        changes = list(_changes(store, said, files, outcome, overrule, source.name))
        if outcome.problems and not partly:
            rest = f"nothing was imported; --partly imports {len(changes):,} changes without these rows"
            raise UserError([f"{source}: {line}" for line in _shortened(outcome.problems)] + [f"{source}: {rest}"])
        store.record(changes, who, "import")
    return outcome


def _read(store: Store, source: Path, outcome: Outcome) -> list[Said]:
    """The answers of all rows, one an image."""
    problems = outcome.problems
    rows = _rows(source, problems)
    base = (source if source.is_dir() else source.parent).absolute()
    names = Names(store)
    found: dict[int, Said | None] = {}
    while batch := list(islice(rows, BATCH)):
        sound = []
        for row in batch:
            if problem := row_problem(row):
                problems.append(f"{row.where}: {problem}")
            else:
                sound.append(row)
        for row, image in zip(sound, find(store, sound, base), strict=True):
            try:
                _take(row, image, names, found, outcome)
            except Wrong as error:
                problems.append(f"{row.where}: {error}")
    return [said for said in found.values() if said]


def _take(row: Row, image: int | str, names: Names, found: dict[int, Said | None], outcome: Outcome) -> None:
    """found: what was said of each image; None: several things, of which none counts."""
    if (answer := answer_of(row, names.id_of)) is None:
        outcome.silent += 1
        return
    if isinstance(image, str):
        raise Wrong(image)
    before = found.setdefault(image, Said(image, answer, row))
    if before is None or before.answer != answer:
        found[image] = None
        other = f"the image of {before.row.where}" if before else "an image of rows above"
        raise Wrong(f"{name_of(row.path)}: is {other} once more, with another label; keep one")


def _rows(source: Path, problems: list[str]) -> Iterator[Row]:
    if source.is_dir():
        return read_tree(source, problems)
    if source.suffix.lower() not in READERS:
        raise UserError(f"import: {source}: must end in {', '.join(READERS)}, or be a folder of folders")
    return READERS[source.suffix.lower()](source, problems)


def _files(store: Store, said: list[Said]) -> dict[int, str | None]:
    """What is wrong with the files of images that would be labeled otherwise. Files may be read for it: before the
    transaction, in which others wait."""
    now = standing(store, [entry.image for entry in said])
    return {
        entry.image: file_problem(store, entry.image)
        for entry, (stands, _) in zip(said, now, strict=True)
        if not is_same(entry.answer, stands)
    }


def _changes(
    store: Store, said: list[Said], files: dict[int, str | None], outcome: Outcome, overrule: bool, file: str
) -> Iterator[Change]:
    """What is to be recorded; inside of a transaction."""
    names = {row.id: row.name for row in store.classes(all=True)}
    for (image, answer, row), (now, who) in zip(said, standing(store, [entry.image for entry in said]), strict=True):
        if is_same(answer, now):
            outcome.same += 1
            continue
        if problem := files.get(image):
            outcome.problems.append(f"{row.where}: {problem}")
            continue
        if is_newer(now, row) and not overrule:
            label = f"labeled {name_of(names[now.class_id])}" if now.class_id is not None and who else now.state.word
            outcome.conflicts.append(
                f"{row.where}: {name_of(row.path)} is {label} here, by {name_of(who)} on {now.at[:16]}, which the file "
                "does not know of; --overrule replaces it"
            )
            continue
        if now.event is None:
            outcome.new += 1
        else:
            outcome.changed += 1
        origin = {name: value for name, value in (("author", row.who), ("made", row.at)) if value}
        yield Change(image, answer.state, answer.class_id, now.event, details={"file": file, **origin})


def standing(store: Store, images: list[int]) -> Iterator[tuple[Standing, str]]:
    """What stands for each image, and who said so; empty: nobody."""
    for begin in range(0, len(images), BATCH):
        part = images[begin : begin + BATCH]
        marks = ", ".join("?" * len(part))
        rows = store.connection.execute(
            "SELECT now.image, now.state, now.class, now.event, event.at, event.who FROM now "
            f"LEFT JOIN event ON event.id = now.event WHERE now.image IN ({marks})",
            part,
        )
        found = {row[0]: (Standing(State(row[1]), row[2], row[3], row[4] or ""), row[5] or "") for row in rows}
        yield from (found[image] for image in part)


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines if more <= 0 else [*lines[:SHOWN], f"and {more:,} more"]


def _told(outcome: Outcome, args: argparse.Namespace) -> str:
    """The outcome in one sentence."""
    done = outcome.new + outcome.changed
    parts = [f"Imported {done:,} label{'s' if done != 1 else ''} of {args.who} from {args.source}"]
    if done:
        parts[0] += f" ({outcome.new:,} new, {outcome.changed:,} in place of others)"
    parts += [f"{outcome.same:,} were there already"] * bool(outcome.same)
    parts += [f"{outcome.silent:,} rows hold nothing that a person said"] * bool(outcome.silent)
    parts += [f"{len(outcome.conflicts):,} newer here kept"] * bool(outcome.conflicts)
    parts += [f"{len(outcome.problems):,} with mistakes left out"] * bool(outcome.problems)
    return "; ".join(parts)
