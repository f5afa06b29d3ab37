"""`daily PROJECT add`: new images of the day, each read and decoded once, by the scan that its trainings use."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from semisonic.checkpoint.atomic_files import write_text
from semisonic.daily.project import Project
from semisonic.daily.sources import Source, find, unknown_classes
from semisonic.daily.store import Added, NewImage, Store
from semisonic.daily.writing import written
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.manifest import ScannedFile, scan
from semisonic.inference.progress import Meter
from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode, UserError, given_path
from semisonic.text import csv_cell, name_of, printable

SLICE = 50_000
"""Files that are scanned at a time: what a stopped `add` has read is not read again."""
SHOWN = 20
"""Lines of a kind."""


@dataclass
class Outcome:
    """What came of adding."""

    added: Added
    notes: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Path of a file that cannot be used, and why."""

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.LEFT_OUT if self.left_out else ExitCode.OK


def run(project: Project, args: argparse.Namespace) -> ExitCode:
    """The sub-command."""
    outcome = add(project, args.source, args.who, args.labels == "folders", args.add_classes)
    for line in told(project, outcome):
        print(printable(line))
    return outcome.exit_code


def add(
    project: Project,
    source: str | Path,
    who: str,
    labels: bool = False,
    add_classes: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Adds the images of a folder, a CSV or a list to the project, all or none; known ones are skipped.

    labels: whether sub-folders are labels, by `who`. add_classes: whether labels of unknown classes add them. Files
    that cannot be used are left out, and listed in `report/`. Raises `UserError` with every mistake.
    """
    source = given_path("add", source)
    cfg = _config(project)
    found = find(source, cfg, labels)
    with project.store() as store:
        new_classes = unknown_classes(found, store.label_names())
    if new_classes and not add_classes:
        shown = ", ".join(map(name_of, new_classes[:SHOWN]))
        more = f" and {len(new_classes) - SHOWN} more" if len(new_classes) > SHOWN else ""
        raise UserError(
            f"add: {source} has images of classes that the project has not: {shown}{more}; add them with `classes add` "
            "or --add-classes, or leave labels out with --labels none"
        )
    entries = _scan(project, cfg, found, quiet)
    left_out = [(path, entry.reason) for (path, _), entry in zip(found.items, entries, strict=True) if not entry.sound]
    with project.store() as store:
        added = _store(store, _images(found, entries), new_classes, who)
    project.mirror()
    outcome = Outcome(added, found.notes, left_out)
    if left_out:
        _list_left_out(project, outcome)
    return outcome


def _config(project: Project) -> DataConfig:
    """Limits and workers as the project's trainings have them, and the classes as they are."""
    own = project.settings.fields.get("data", {})
    kept = ("max_file_mb", "max_pixels", "workers", "doubts")
    given = {name: own[name] for name in kept if isinstance(own, dict) and name in own}
    return DataConfig(name="folder", size=project.size, test="none", classes=tuple(project.settings.classes), **given)


def _scan(project: Project, cfg: DataConfig, source: Source, quiet: bool) -> list[ScannedFile]:
    """What is in each file. Paths are those that a training of the project has, so that its scan finds all known."""
    top = os.path.join(project.folder, "")
    keys = [path.removeprefix(top) for path, _ in source.items]
    console = Console(file=lasting(sys.stderr), quiet=quiet, soft_wrap=True)
    meter = Meter(len(keys), 0, None, console)
    entries: list[ScannedFile] = []
    for begin in range(0, len(keys), SLICE):
        part = keys[begin : begin + SLICE]
        entries += scan(project.folder, part, cfg.workers, limits=cfg.limits).entries
        meter.add(len(part))
    return entries


def _images(source: Source, entries: Sequence[ScannedFile]) -> Iterator[NewImage]:
    for (path, label), entry in zip(source.items, entries, strict=True):
        if entry.sound:
            yield NewImage(
                path, entry.digest, entry.bytes, entry.mtime_ns, entry.inode, entry.width, entry.height, label
            )


def _store(store: Store, images: Iterator[NewImage], classes: Sequence[str], who: str) -> Added:
    with store.transaction():
        if classes:
            store.add_classes(classes, who, "add")
        return store.add_images(images, who)


def left_out_path(project: Project, day: int) -> Path:
    return project.report / f"day-{day:03d}-left-out.csv"


def _list_left_out(project: Project, outcome: Outcome) -> None:
    path = left_out_path(project, outcome.added.day)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "reason"))
    rows.writerows((csv_cell(name), csv_cell(reason)) for name, reason in outcome.left_out)
    with written(path):
        path.parent.mkdir(exist_ok=True)
        write_text(path, text.getvalue())


def told(project: Project, outcome: Outcome) -> list[str]:
    """What to say of it, a line each."""
    added = outcome.added
    parts = [f"{added.new:,} new"]
    if added.labeled:
        parts.append(f"{added.labeled:,} labeled")
    if added.known:
        parts.append(
            f"{added.known:,} known already" + (f", of which {added.moved:,} lie elsewhere now" * bool(added.moved))
        )
    if added.changed:
        parts.append(f"{added.changed:,} in the place of others, which have no file any more")
    lines = [*outcome.notes]
    if added.opened:
        lines.append(f"Day {added.day} begins: a training of day {added.day - 1} has begun, and these images are new")
    lines.append(f"Day {added.day}: {'; '.join(parts)}")
    lines += added.problems
    if left := outcome.left_out:
        which = "1 file cannot be used and is" if len(left) == 1 else f"{len(left):,} files cannot be used and are"
        lines.append(f"{which} left out; all in {left_out_path(project, added.day)}")
        lines += [f"  {path}: {reason}" for path, reason in left[:SHOWN]]
    return lines
