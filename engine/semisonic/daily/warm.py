"""`train --warm`: a run that starts from the newest finished network, whose classes may have changed since.

Head rows are those of the same class, whatever it is called by now; of classes that were merged the mean, of the parts
of a split one its own, and of new classes none: those are drawn anew.
"""

from pathlib import Path

import torch
from torch import Tensor

from semisonic.checkpoint import format as checkpoints
from semisonic.checkpoint import snapshots
from semisonic.checkpoint.atomic_files import writing
from semisonic.daily.project import Project
from semisonic.daily.store import Revision, Store
from semisonic.daily.store.classes import fold, history

HEAD = ("ema.head.weight", "ema.head.bias")


def classes_of(store: Store, revision: Revision) -> list[tuple[int, str]]:
    """Number and name of each class of a revision's run, in the order of its head."""
    before = [event for event in history(store.connection) if event.id <= revision.last_event]
    return [(row.id, row.name) for row in fold(before).active()]


def start(project: Project, store: Store, wanted: bool) -> tuple[Path | None, list[str], list[str]]:
    """The newest finished run, which a new one starts from; what is wrong, and what to tell."""
    if not wanted:
        return None, [], []
    for revision in reversed(store.revisions()):
        if not (project.runs / revision.run / "summary.json").exists():
            continue
        kept = [row for row in store.head_rows(classes_of(store, revision)) if row]
        if not kept:
            return None, [f"--warm: {revision.run} knows none of the project's classes; leave it out"], []
        return project.runs / revision.run, [], [f"Warm start from {revision.run}"]
    return None, ["--warm: there is no finished training to start from; leave it out"], []


def written(project: Project, store: Store, first: Path, revision: Revision) -> Path:
    """What the run of a revision starts from: the run `first`, or where the classes are not its own any more, a
    checkpoint with a head for them, which is written. Raises `UserError`."""
    before = next(own for own in reversed(store.revisions()) if own.run == first.name)
    rows = store.head_rows(classes_of(store, before))
    if before.classes == revision.classes and rows == [[row] for row in range(len(rows))]:
        return first
    checkpoint = checkpoints.load_checkpoint(first)
    averaged = {name: value for name, value in checkpoint.model.items() if name.startswith("ema.")}
    averaged |= {name: with_rows(averaged[name], rows) for name in HEAD if name in averaged}
    names = [name for name, own in zip(revision.classes, rows, strict=True) if own]
    state = snapshots.alone(checkpoint.state) | {"classes": names, "head": None}
    folder = revision.path.with_name(f"{revision.path.stem}-start")
    with writing(folder):
        snapshots.write(folder, state["step"], checkpoints.Checkpoint(averaged, {}, state, checkpoint.config))
    return folder / f"step-{state['step']}"


def with_rows(head: Tensor, rows: list[list[int]]) -> Tensor:
    """The rows of a head's weights or biases, [C, ...], for other classes: each the mean of those of its list; none of
    an empty one."""
    return torch.stack([head[own].mean(0) for own in rows if own])
