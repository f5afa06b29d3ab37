"""`daily PROJECT status`: days, labels by their state, queues, runs and audits, and what comes next."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from semisonic.daily.facts import gather, is_finished
from semisonic.daily.project import Project
from semisonic.daily.steps import Facts, next_step
from semisonic.daily.store import AuditRow, Revision, State, Store
from semisonic.daily.store.database import snapshot
from semisonic.daily.store.queues import title_of
from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode
from semisonic.text import dump_json, name_of, printable

WIDTH = 120
"""Columns where there is no terminal."""


@dataclass(frozen=True)
class Overview:
    """All that is shown, as JSON has it."""

    name: str
    facts: Facts
    days: list[dict[str, Any]]
    """Of each day: its number, when it began, images, and images by state."""
    runs: list[dict[str, Any]]
    """Of each training: its name, day, labeled images, and whether its labels are the current ones."""
    audits: list[dict[str, Any]]
    """Of each audit: its run, and how many of its images were looked at."""

    def as_json(self) -> dict[str, Any]:
        step = next_step(self.facts)
        return {
            "project": self.name,
            "day": self.facts.day,
            "days": self.days,
            "queues": dict(self.facts.queues),
            "new_labels": self.facts.new_labels,
            "runs": self.runs,
            "audits": self.audits,
            "next": {"say": step.say, "do": list(step.do), "images": step.images, "minutes": step.minutes},
        }


def run(project: Project, args: argparse.Namespace) -> int:
    seen = overview(project)
    if args.json:
        print(dump_json(seen.as_json(), indent=1), file=lasting(sys.stdout))
    else:
        _show(seen)
    return ExitCode.OK


def overview(project: Project) -> Overview:
    facts = gather(project)
    with project.store() as store, snapshot(store.connection):
        current = store.current()
        began = dict(store.connection.execute("SELECT number, began FROM day").fetchall())
        days = []
        for day, count in store.day_of_images().items():
            states = Counter(current.state[current.day == day].tolist())
            by_state = {state.word: states[state] for state in State}
            days.append({"day": day, "began": began[day][:10], "images": count, **by_state})
        runs = [_run(project, store, revision) for revision in store.revisions()]
        audits = [_audit(store, audit) for audit in store.audits()]
    return Overview(project.settings.name, facts, days, runs, audits)


def _run(project: Project, store: Store, revision: Revision) -> dict[str, Any]:
    return {
        "run": revision.run,
        "day": revision.day,
        "images": revision.images,
        "labeled": revision.labeled,
        "finished": is_finished(project, revision.run),
        "current": revision.run == store.run,
    }


def _audit(store: Store, audit: AuditRow) -> dict[str, Any]:
    looked = store.audit_rows(audit.id).event > 0
    return {
        "run": audit.run,
        "day": audit.day,
        "drawn": len(looked),
        "looked": int(looked.sum()),
        "population": audit.population,
        "method": audit.method,
    }


def _show(seen: Overview) -> None:
    from rich.console import Console

    console = Console(file=lasting(sys.stdout), highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    tell = partial(console.print, markup=False, soft_wrap=True)
    used = [state.word for state in State if any(day[state.word] for day in seen.days)]
    waiting = [f"{title_of(name, seen.facts.day)} {count:,}" for name, count in seen.facts.queues.items() if count]
    tell(printable(f"{seen.name}: day {seen.facts.day}, {seen.facts.classes} classes"))
    _table(console, {"day": "day", "began": "began", "images": "images", **{word: word for word in used}}, seen.days)
    tell(f"Queues: {', '.join(waiting) or 'empty'}")
    runs = [run | {"worth": _worth(run)} for run in seen.runs]
    _table(console, {"run": "run", "day": "day", "images": "images", "labeled": "labeled", "": "worth"}, runs)
    _table(
        console,
        {"audit of": "run", "day": "day", "images": "drawn", "looked at": "looked", "of": "population", "": "method"},
        seen.audits,
    )
    step = next_step(seen.facts)
    tell(printable(f"Next: {' '.join(step.do)}{': ' if step.do else ''}{step.say}"))


def _worth(run: Mapping[str, Any]) -> str:
    if not run["finished"]:
        return "not finished"
    return "its labels are current" if run["current"] else ""


def _table(console: Any, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of some entries of each row. columns: title -> the entry's name."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title, name in columns.items():
        table.add_column(title, justify="right" if isinstance(rows[0][name], int) else "left")
    for row in rows:
        cells = (row[name] for name in columns.values())
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else Text(name_of(cell)) for cell in cells))
    console.print(table)
