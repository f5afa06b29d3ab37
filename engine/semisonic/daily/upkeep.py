"""`daily PROJECT check|undo|classes|backup`: what keeps a store in order."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semisonic.config.arguments import output_problem
from semisonic.daily.store import PERSON, Event, State, Store
from semisonic.data.sets.walk import count_of
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of, printable

if TYPE_CHECKING:
    from semisonic.daily.project import Project

NAMES = {"list": (0, 0), "add": (1, None), "rename": (2, 2), "merge": (2, 2), "split": (3, None), "retire": (1, 1)}
"""How many names a change of classes takes, at least and at most."""
MEANT = {
    "list": "no names",
    "add": "the names of new classes",
    "rename": "a class and its new name",
    "merge": "a class and the one that it becomes a part of",
    "split": "a class and the names of two or more that it becomes",
    "retire": "a class",
}
SHOWN = 10
"""Undone events that are named."""


def check(project: "Project", args: argparse.Namespace) -> int:
    """Says what is wrong with the store and the images that it names."""
    with project.store() as store:
        problems = store.check(hashes=args.hashes)
        if not problems:
            read = ", all read" if args.hashes else ""
            print(f"Nothing is wrong: {len(store.current()):,} images{read}, {store.last_event:,} events")
            return ExitCode.OK
    for problem in problems:
        print(printable(problem))
    return ExitCode.ERROR


def undo(project: "Project", args: argparse.Namespace) -> int:
    if bool(args.events) == (args.last is not None):
        raise UserError("undo: give the numbers of events, or --last N for the last ones of --who")
    with project.store() as store:
        if args.last is None:
            found = store.undo(args.events, args.who)
        else:
            found = store.undo_last(args.who, args.last)
            if not found:
                raise UserError(f"--last: there is no label of {name_of(args.who)} that stands; --who names another")
        for event in map(store.event, found[:SHOWN]):
            print(printable(_told(store, event)))
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN:,} more")
    return ExitCode.OK


def _told(store: Store, event: Event) -> str:
    line = f"Event {event.details['event']} is undone, by event {event.id}"
    if event.image is None:
        return line
    now = store.now_of(event.image)
    assert now is not None
    names = {row.id: row.name for row in store.classes(all=True)}
    label = f" as {name_of(names[now.class_id])}" if now.class_id is not None else ""
    (path,) = store.paths(np.array([event.image]))
    return f"{line}: {name_of(path or f'image {event.image}')} is {now.state.word}{label} again"


def classes(project: "Project", args: argparse.Namespace) -> int:
    least, most = NAMES[args.what]
    names: Sequence[str] = args.names
    if len(names) < least or (most is not None and len(names) > most):
        raise UserError(f"classes {args.what}: takes {MEANT[args.what]}; {len(names)} given")
    with project.store() as store:
        if args.what == "list":
            _list(store)
            return ExitCode.OK
        before = len(store.queue("second-look"))
        match args.what:
            case "add":
                store.add_classes(names, args.who)
                event = store.last_event
            case "rename":
                event = store.rename_class(names[0], names[1], args.who)
            case "merge":
                event = store.merge_classes(names[0], names[1], args.who)
            case "split":
                event = store.split_class(names[0], names[1:], args.who)
            case _:
                event = store.retire_class(names[0], args.who)
        queued = len(store.queue("second-look")) - before
        now = ", ".join(name_of(row.name) for row in store.classes()[:20])
    again = (
        f"; {count_of(queued, 'image')} {'are' if queued > 1 else 'is'} queued for a second look" if queued > 0 else ""
    )
    print(printable(f"Event {event}{again}. The classes are now {now}"))
    return ExitCode.OK


def _list(store: Store) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    current = store.current()
    person = np.isin(current.state, sorted(PERSON))
    by_people = Counter(current.class_id[person].tolist())
    by_network = Counter(current.class_id[np.isin(current.state, [State.AUTO, State.ACCEPTED])].tolist())
    names = {row.id: row.name for row in store.classes(all=True)}
    table = Table("number", "class", "labels of people", "of the network", "", box=None, header_style="bold")
    for row in store.classes(all=True):
        into = f"merged into {name_of(names[row.merged_into])}" if row.merged_into is not None else row.status
        note = "" if row.status == "active" else into
        counts = (f"{by_people[row.id]:,}", f"{by_network[row.id]:,}") if row.status == "active" else ("", "")
        table.add_row(str(row.id), Text(name_of(row.name)), *counts, Text(note))
    Console(highlight=False).print(table)


def backup(project: "Project", args: argparse.Namespace) -> int:
    if problem := output_problem("FILE", args.file):
        raise UserError(problem)
    with project.store() as store:
        store.backup(args.file)
    print(printable(f"A copy of the store of day {project.day} is in {args.file}"))
    return ExitCode.OK
