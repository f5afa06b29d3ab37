"""What `next` and `status` know of a project, read from its store and its folder."""

import os
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from semisonic.checkpoint.folder_lock import FolderInUse, refuse_if_held
from semisonic.daily.project import Project
from semisonic.daily.steps import Facts
from semisonic.daily.store import LOOKED, PERSON, State, Store
from semisonic.daily.store.database import snapshot
from semisonic.daily.store.queues import NAMES

CHOSEN = "chosen"
"""Under which the store keeps the day of the last choice of images to be labeled."""
PACE_OF = 200
"""Newest looks whose pace counts."""
PAUSE = 60.0
"""Seconds between two looks that are a pause, and no pace."""
USUAL = 3.0
"""Seconds of a look before anybody has looked."""
FEWEST = 10
"""Looks by which a pace is known."""


def gather(project: Project) -> Facts:
    """The facts of this moment."""
    with project.store() as store, snapshot(store.connection):
        current = store.current()
        person = np.isin(current.state, sorted(PERSON))
        revisions = store.revisions()
        newest = revisions[-1] if revisions else None
        return Facts(
            folder=shown_folder(project.folder),
            day=store.day,
            images=int((current.state != State.REJECTED).sum()),
            undecided=int(((current.day == store.day) & ~np.isin(current.state, sorted(LOOKED))).sum()),
            classes=len(store.classes()),
            labels=int(person.sum()),
            labeled_classes=len(np.unique(current.class_id[person])),
            new_labels=changed_since(store, newest.last_event if newest else 0),
            queues={name: len(store.queue(name)) for name in NAMES},
            chosen=was_chosen(store),
            run=newest.run if newest else None,
            run_day=newest.day if newest else 0,
            finished=newest is not None and is_finished(project, newest.run),
            labeled_run=store.run,
            run_reported=_reported(project, store, "WHERE kind = 'auto'"),
            reported=_reported(project, store),
            looks=project.settings.looks.get("farthest", 10),
            seconds=pace(store),
            at_work=_at_work(project),
        )


def is_finished(project: Project, run: str) -> bool:
    return (project.runs / run / "summary.json").exists()


def shown_folder(folder: Path) -> str:
    """A project's folder as a command names it from here."""
    near = os.path.relpath(folder)
    return shlex.quote(near if not near.startswith("..") else str(folder))


def changed_since(store: Store, event: int) -> int:
    """How many images people have labeled, or labeled otherwise, after an event."""
    row = store.connection.execute(
        "SELECT count(DISTINCT image) FROM event WHERE id > ? AND image IS NOT NULL", (event,)
    )
    return int(row.fetchone()[0])


def pace(store: Store) -> float:
    """Seconds of a look: the median of those between one person's newest ones, on the page."""
    rows = store.connection.execute(
        "SELECT who, at FROM event WHERE kind = 'label' AND source LIKE 'page:%' ORDER BY id DESC LIMIT ?", (PACE_OF,)
    ).fetchall()
    return pace_of([(who, datetime.fromisoformat(at).timestamp()) for who, at in reversed(rows)])


def pace_of(looks: Sequence[tuple[str, float]]) -> float:
    """The pace of looks, each who and when in seconds, in their order. Those of one moment, a page that was accepted,
    share the time since the one before."""
    spent: list[float] = []
    before: dict[str, float] = {}
    together: dict[tuple[str, float], int] = {}
    for who, at in looks:
        together[who, at] = together.get((who, at), 0) + 1
    for (who, at), count in together.items():
        if who in before and 0 < at - before[who] < PAUSE:
            spent += [(at - before[who]) / count] * count
        before[who] = at
    return float(np.median(spent)) if len(spent) >= FEWEST else USUAL


def was_chosen(store: Store) -> bool:
    """Whether images were chosen on the current day, wherever people have labeled them since, on the page or not."""
    row = store.connection.execute(
        "SELECT EXISTS (SELECT 1 FROM queue WHERE name = 'farthest' AND day = ?1) OR EXISTS (SELECT 1 FROM event "
        "WHERE source = 'page:farthest' AND id > (SELECT last_event FROM day WHERE number = ?1)) OR EXISTS (SELECT 1 "
        "FROM meta WHERE key = ?2 AND value = ?3)",
        (store.day, CHOSEN, str(store.day)),
    )
    return bool(row.fetchone()[0])


def _reported(project: Project, store: Store, of: str = "") -> bool:
    """Whether the day's report is newer than the newest event, or the newest of some."""
    report = project.report / f"day-{store.day:03d}.json"
    row = store.connection.execute(f"SELECT at FROM event {of} ORDER BY id DESC LIMIT 1").fetchone()
    try:
        return row is not None and report.stat().st_mtime >= datetime.fromisoformat(row[0]).timestamp()
    except OSError:
        return False


def _at_work(project: Project) -> str | None:
    try:
        refuse_if_held(project.folder)
    except FolderInUse as error:
        return str(error.holder or "a process")
    return None
