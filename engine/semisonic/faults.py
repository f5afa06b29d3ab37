"""Faults by name: a process that dies, hangs or finds the disk full where `SEMISONIC_FAULT` says so.

    SEMISONIC_FAULT=point:n[@rank][,...]        the n-th time that the process (of that rank) reaches the point
    SEMISONIC_FAULT=list                        all points

`POINTS` has every name. The engine calls `reach` where a point is, which without the variable looks at one global. All
that becomes part of a run's folder passes the points of its file (`FILES`). This is for tests of what a run survives,
here and on a cluster; nobody else sets the variable.
"""

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

from semisonic.schema import UserError

LIST = "list"
LATE = 1.0
"""Seconds after which a rank dies inside a collective: its peers wait in it by then."""

FILES = {
    "status": "status.json",
    "split": "split.npz",
    "images": "images.npz, the fingerprints of a folder's images",
    "config": "config.yaml of the run",
    "summary": "summary.json",
    "kept": "metrics.jsonl, cut back to the checkpoint that a run resumes from",
    "labels": "the tables of add-ons, labels/*.parquet",
    "confusion": "confusion.png",
    "report": "report.html, the page of a finished run",
    "scan": "what is known of the images of a folder, .semisonic/manifest.npz",
    "latest": "the pointer to the newest checkpoint",
}
"""Files that replace what was there as a whole: a point -> the file."""
PARTS = {
    "model": "model.safetensors",
    "optimizer": "optimizer.safetensors",
    "state": "state.json",
    "checkpoint-config": "config.yaml of the checkpoint",
    "checkpoint-manifest": "manifest.json",
}
"""The files of a checkpoint, which get their names together, by the rename of their folder."""
SNAPSHOTS = {
    "snapshot-model": "model.safetensors of a snapshot",
    "snapshot-optimizer": "optimizer.safetensors of a snapshot, which is empty",
    "snapshot-state": "state.json of a snapshot",
    "snapshot-config": "config.yaml of a snapshot",
    "snapshot-manifest": "manifest.json of a snapshot",
}
"""The files of a snapshot, likewise."""
LOCK = {"lock": ".lock, which says who owns the folder"}
APPENDED = {
    "metrics": "a line of metrics.jsonl",
    "discarded": "what a resumed run moves to metrics.discarded.jsonl",
}
"""Files that grow."""
MOMENTS = {
    "loader": "before a batch is taken from the loader",
    "step": "before a training step",
    "evaluation": "before a slice of an evaluation",
    "save": "before the ranks are compared for a checkpoint",
    "writer": "in the thread that writes a checkpoint, before it begins",
}
"""Points of the training, whose progress is watched."""
EDGES = {
    "begin": "before a run's folder is made",
    "restore": "before a checkpoint is restored",
    "finish": "after the last step, before its tables and the summary",
}
"""Points before and after it."""
COLLECTIVES = {
    "gradients": "the backward, in which gradients are reduced",
    "observed": "the gathering of what the algorithm observes",
    "meter": "the sums of the training's metrics",
    "sums": "the gathering of those for a checkpoint",
    "vote": "the vote on stopping",
    "finite": "the question whether a loss was not finite anywhere",
    "comparison": "the comparison of the ranks' parameters and state",
    "outcome": "what rank 0 says of its last checkpoint",
    "counts": "the counts of an evaluation",
    "main": "the sending of what the main process did for all",
}
"""What ranks do together. A process alone passes the same places."""
FOLDERS = {
    "checkpoint.sync": "killed before the names in a checkpoint's folder are synced",
    "checkpoint.rename": "killed before a whole checkpoint gets its name",
    "checkpoint.named": "killed after that, before the name is synced",
    "checkpoint.remove": "killed before an old checkpoint loses its name",
    "checkpoint.delete": "killed after that, with one of its files gone",
    "lock.named": "killed when it has claimed the folder",
    "lock.rename": "killed before its .lock is in place",
    "lock.taken": "killed when that is, beside its claim",
    "metrics.fsync": "killed before metrics.jsonl is synced for a checkpoint",
    "lengthened.rename": "killed before the summary of a run that goes on for longer is kept under another name",
    "snapshot.sync": "killed before the names in a snapshot's folder are synced",
    "snapshot.rename": "killed before a whole snapshot gets its name",
    "snapshot.named": "killed after that, before the name is synced",
}
"""Points that are like no other."""

HOW = {
    "write": "killed when half of it is written",
    "full": "the disk is full when half of it is written",
    "fsync": "killed before it is synced",
    "rename": "killed before it replaces the one before",
    "named": "killed after that, before its name is synced",
    "kill": "killed",
    "hang": "sleeps for ever",
    "before": "killed before",
    "inside": f"killed {LATE:.0f} s later, when the other ranks wait in it",
}
"""What the last part of a point's name does."""


def _named() -> Iterator[tuple[str, str, str]]:
    """(place, point, what happens) of every point."""
    for table, ways in (
        (FILES, ("write", "fsync", "rename", "named")),
        (PARTS | LOCK, ("write", "fsync")),
        (APPENDED, ("write",)),
        (SNAPSHOTS, ("write", "fsync")),
    ):
        for name, text in table.items():
            for way in ways:
                for how in ("write", "full") if way == "write" else (way,):
                    yield f"{name}.{way}", f"{name}.{how}", f"{text}: {HOW[how]}"
    for table, ways in ((MOMENTS, ("kill", "hang")), (EDGES, ("kill",)), (COLLECTIVES, ("before", "inside"))):
        for name, text in table.items():
            for way in ways:
                yield name, f"{name}.{way}", f"{text}: {HOW[way]}"
    for name, text in FOLDERS.items():
        yield name, name, text


POINTS = {point: text for _, point, text in _named()}
"""Every point that `SEMISONIC_FAULT` may name, and what happens there."""
PLACES: dict[str, list[str]] = {}
"""What `reach` is called with -> the points there."""
for _place, _point, _ in _named():
    PLACES.setdefault(_place, []).append(_point)

_armed: dict[str, set[int]] | None = None
"""The faults of this process: a point -> which times it strikes. None: there are none, and `reach` does nothing."""
_reached: Counter[str] = Counter()
_lock = threading.Lock()


def list_asked() -> bool:
    """Whether all points are to be shown in place of a run."""
    return os.environ.get("SEMISONIC_FAULT") == LIST


def listing() -> str:
    """All points, a line each."""
    return "\n".join(["SEMISONIC_FAULT=point:n[@rank] of", *(f"  {name:26} {what}" for name, what in POINTS.items())])


def arm() -> None:
    """Takes the faults of this process from the environment. Raises `UserError` for what names none."""
    global _armed
    text = os.environ.get("SEMISONIC_FAULT")
    _armed = _parse(text, int(os.environ.get("RANK", "0"))) if text else None
    _reached.clear()


def _parse(text: str, rank: int) -> dict[str, set[int]]:
    if text == LIST:
        raise UserError("SEMISONIC_FAULT: list is for a command line, such as SEMISONIC_FAULT=list semisonic train")
    found: dict[str, set[int]] = {}
    problems = []
    for fault in text.split(","):
        point, _, rest = fault.strip().partition(":")
        number, at, where = rest.partition("@")
        if point not in POINTS:
            near = get_close_matches(point, POINTS)
            advice = f"did you mean {', '.join(near)}?" if near else "SEMISONIC_FAULT=list shows all"
            problems.append(f"SEMISONIC_FAULT: {point!r} is no point; {advice}")
        elif not number.isdecimal() or int(number) < 1 or (at and not where.isdecimal()):
            problems.append(f"SEMISONIC_FAULT: {fault.strip()!r} is not point:n or point:n@rank, n from 1 on")
        elif not at or int(where) == rank:
            found.setdefault(point, set()).add(int(number))
    if problems:
        raise UserError(problems)
    return found


def reach(place: str, half: Callable[[], object] | None = None) -> None:
    """Says that the process is at one of `PLACES`; a fault strikes if one is due. half: writes half of what is to come.

    Raises `OSError` where the fault is a full disk.
    """
    if _armed is not None:
        for point in PLACES[place]:
            _pass(point, half)


def reach_file(path: Path, way: str, half: Callable[[], object] | None = None) -> None:
    """`reach` for what is done to a file of a run's folder, or its temporary copy; other files have no points."""
    if _armed is not None and (name := file_of(path)) and f"{name}.{way}" in PLACES:
        reach(f"{name}.{way}", half)


def file_of(path: Path) -> str | None:
    """The points' name for a file, or for the temporary one that is to replace it."""
    name = path.name.removeprefix(".").removesuffix(".tmp")
    if path.parent.name.startswith(".tmp-step-"):
        parts = SNAPSHOTS if path.parent.parent.name == "snapshots" else PARTS
        return next((point for point, file in parts.items() if file.split()[0] == name), None)
    return _NAMES.get(name) or ("labels" if name.endswith(".parquet") else None)


_NAMES = {
    "status.json": "status", "split.npz": "split", "images.npz": "images", "config.yaml": "config",
    "summary.json": "summary", "metrics.jsonl": "kept", "confusion.png": "confusion", "manifest.npz": "scan",
    "latest": "latest", "report.html": "report",
}  # fmt: skip


def reached() -> dict[str, int]:
    """How often this process has been at each point, where it has faults at all."""
    return dict(_reached)


def _pass(point: str, half: Callable[[], object] | None) -> None:
    with _lock:  # checkpoints are written by a thread
        _reached[point] += 1
        due = _armed is not None and _reached[point] in _armed.get(point, ())
    if due:
        _strike(point, half)


def _strike(point: str, half: Callable[[], object] | None) -> None:
    way = point.rpartition(".")[2]
    os.write(2, f"fault: {point}:{_reached[point]} strikes\n".encode())
    if half is not None:
        half()
    if way == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if way == "hang":
        while True:
            time.sleep(3600)
    if way == "inside":
        time.sleep(LATE)
    os.kill(os.getpid(), signal.SIGKILL)
