"""`daily PROJECT export`: the labels of a project, with what each is worth, as a table, a tree or JSON."""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semisonic.config.arguments import check_folder, check_new_file
from semisonic.daily.accepting import backed
from semisonic.daily.exchange.label_studio import write_tasks
from semisonic.daily.exchange.rows import Row
from semisonic.daily.exchange.tables import write_csv, write_parquet
from semisonic.daily.exchange.tree import write_tree
from semisonic.daily.project import Project
from semisonic.daily.store import LOOKED, PERSON, State, Store
from semisonic.daily.store.database import snapshot
from semisonic.daily.writing import written
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable

ENDINGS = {"csv": ".csv", "parquet": ".parquet", "label-studio": ".json", "tree": ""}
FOLDER = "export"
"""In the project's folder: where exports go that are not told where."""
BATCH = 10_000
NETWORK = (State.AUTO, State.ACCEPTED)


class Wanted(NamedTuple):
    """Which labels are exported."""

    states: frozenset[State] = frozenset(State) - {State.UNLABELED}
    days: frozenset[int] | None = None
    """None: all."""
    backed: np.ndarray | None = None
    """Images whose labels by the network an audit backs; those of others are left out. None: all count."""


def run(project: Project, args: argparse.Namespace) -> int:
    wanted = wanted_of(args)
    if args.to != "tree" and (args.links or args.copies):
        raise UserError("--links, --copies: are for --to tree")
    out = args.out or free_place(project.folder / FOLDER, f"day-{project.day:03d}", ENDINGS[args.to])
    if args.to == "tree":
        check_folder("--out", out, "something", "*", ".*")
    else:
        check_new_file("--out", out, [ENDINGS[args.to]])
    write: dict[str, Callable[[Path, Iterator[Row]], int]] = {
        "csv": write_csv, "parquet": write_parquet, "label-studio": write_tasks,
        "tree": partial(write_tree, copies=args.copies),
    }  # fmt: skip
    with project.store() as store, snapshot(store.connection), written(out):
        if args.at_least is not None:
            asked = argparse.Namespace(command="export", at_least=args.at_least, draw=False)
            wanted = wanted._replace(backed=backed(project, store, asked).images)
        out.parent.mkdir(parents=True, exist_ok=True)
        count = write[args.to](out, rows_of(store, wanted))
    print(printable(f"{count:,} label{'s' if count != 1 else ''} in {out}"))
    return ExitCode.OK


def wanted_of(args: argparse.Namespace) -> Wanted:
    """What a command line asks for. Raises `UserError` with every mistake."""
    problems: list[str] = []
    wanted = Wanted()
    if args.at_least is not None:
        wanted = wanted._replace(states=PERSON | set(NETWORK))
    elif args.states:
        words = {state.word: state for state in State}
        problems += [
            f"--states: {word} is none; one of {', '.join(words)}" for word in args.states if word not in words
        ]
        wanted = wanted._replace(states=frozenset(words[word] for word in args.states if word in words))
    if args.days:
        try:
            wanted = wanted._replace(days=frozenset(day for part in args.days for day in _days(part)))
        except ValueError:
            problems.append(f"--days: {','.join(args.days)} are no days; give numbers and ranges such as 1,3-5")
    if problems:
        raise UserError(problems)
    return wanted


def _days(text: str) -> range:
    first, dash, last = text.partition("-")
    if len(text) > 13:
        raise ValueError
    return range(int(first), int(last if dash else first) + 1)


def free_place(folder: Path, name: str, ending: str) -> Path:
    """A new file or folder: the name with a number where there is one already."""
    number = 1
    while os.path.lexists(place := folder / f"{name}{f'-{number}' if number > 1 else ''}{ending}"):
        number += 1
    return place


def rows_of(store: Store, wanted: Wanted) -> Iterator[Row]:
    """The labels that are wanted, in the order of their images; all of one moment, inside of a snapshot."""
    current, scores = store.current(), store.scores()
    certainty = np.full(len(current), np.nan)
    certainty[np.searchsorted(current.image, scores.image)] = scores.certainty
    network = np.isin(current.state, NETWORK)
    chosen = np.isin(current.state, sorted(wanted.states))
    if wanted.days is not None:
        chosen &= np.isin(current.day, sorted(wanted.days))
    if wanted.backed is not None:
        chosen &= ~network | np.isin(current.image, wanted.backed)
    names = {row.id: row.name for row in store.classes(all=True)}
    made = _made(store)
    places = np.flatnonzero(chosen)
    for begin in range(0, len(places), BATCH):
        part = places[begin : begin + BATCH]
        images = current.image[part]
        known = _known(store, int(images[0]), int(images[-1]))
        columns = (images, current.state[part], current.class_id[part], certainty[part])
        for path, image, state, label, sure in zip(store.paths(images), *(c.tolist() for c in columns), strict=True):
            digest, event, who, at, run, accepted_by, accepted_at = known[image]
            own = state in NETWORK
            if own:
                who, at, run = accepted_by or "", accepted_at or made, scores.run
            elif state not in LOOKED:
                who = run = ""
            name = names[label] if label >= 0 else ""
            yield Row(
                path,
                name,
                State(state).word,
                who or "",
                at or "",
                run or "",
                sure if own else None,
                event,
                digest,
                name,
            )


def _made(store: Store) -> str:
    """When the newest run's labels were taken over; empty: never."""
    row = store.connection.execute("SELECT at FROM event WHERE kind = 'auto' ORDER BY id DESC LIMIT 1").fetchone()
    return row[0] if row else ""


def _known(store: Store, first: int, last: int) -> dict[int, tuple]:
    """Hash, newest event with its author, time and run, and who accepted it when, of each image in a range."""
    rows = store.connection.execute(
        "SELECT image.id, hash, now.event, event.who, event.at, event.run, taken.who, taken.at FROM image "
        "JOIN now ON now.image = image.id LEFT JOIN event ON event.id = now.event "
        "LEFT JOIN accepted ON accepted.image = image.id LEFT JOIN event AS taken ON taken.id = accepted.event "
        "WHERE image.id BETWEEN ? AND ?",
        (first, last),
    )
    return {row[0]: row[1:] for row in rows.fetchall()}
