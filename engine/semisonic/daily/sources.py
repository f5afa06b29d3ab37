"""What `add` is given: the image files of a folder, a CSV or a list, by the listing that trainings use."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.csv_listing import list_csv
from semisonic.data.sets.layout import read_folder
from semisonic.data.sets.listing import Listing, list_tree, shortened
from semisonic.data.sets.spellings import Role, role_of
from semisonic.data.sets.walk import PassedOver, count_of, find_images, is_image
from semisonic.records.csv_file import open_csv, read_lines
from semisonic.schema import UserError
from semisonic.text import name_of

_SHOWN = 8  # names


@dataclass
class Source:
    """Image files, and the labels that they came with."""

    items: list[tuple[str, str | None]] = field(default_factory=list)
    """Absolute path and class name (None: unlabeled)."""
    notes: list[str] = field(default_factory=list)


def find(source: Path, cfg: DataConfig, labels: bool) -> Source:
    """The images that a folder, a CSV, a list or an image file names.

    cfg: limits, and the project's classes. labels: whether a folder's sub-folders are the labels of their images; a
    CSV says itself which there are. Raises `UserError` with every mistake.
    """
    if not source.exists():
        raise UserError(f"add: {source}: no such file or folder")
    if source.is_dir():
        found = _folder(source, cfg, labels)
    elif source.suffix.lower() == ".csv":
        found = _csv(source, cfg)
    elif is_image(source.name):
        found = Source([(os.path.abspath(source), None)])
    else:
        found = _listed(source)
    if not found.items:
        raise UserError([f"add: {source}: no images found", *(f"add: {note}" for note in found.notes)])
    return found


def _folder(folder: Path, cfg: DataConfig, labels: bool) -> Source:
    top = read_folder(folder)
    if top.error or top.written:
        raise UserError(f"add: {top.error or f'{folder} is a folder that semisonic wrote, not one of images'}")
    pool = bool(top.folders) and all(role_of(name) in (Role.UNLABELED, Role.POOL) for name in top.folders)
    if labels and not pool:
        return _of(list_tree(_with(cfg, root=folder)))
    passed = PassedOver()
    paths = find_images(folder, folder, passed)
    lost = [f"add: cannot read {broken.path}: {broken.reason}; mend it, or take it out" for broken in passed.broken]
    if lost:
        raise UserError(shortened(lost, f"add: {folder}"))
    notes = passed.notes()
    if not labels and (alike := sorted(set(top.folders) & set(cfg.classes))):
        notes.append(
            f"the folders {_some(alike)} are called like classes, but labels are taken from none; --labels folders does"
        )
    return Source(_absolute(folder, ((path, None) for path in paths)), notes)


def _csv(file: Path, cfg: DataConfig) -> Source:
    table = open_csv(file, "add", cfg.limits.bytes)
    if "label" in table.header:
        return _of(list_csv(_with(cfg, csv=file)))
    (place,) = table.places(["path"])
    if place is None:
        raise UserError(f"add: {file} has no column path; its first line must name path and optionally label")
    return _paths(file, ((row.line, row.cells[place] if place < len(row.cells) else "") for row in table.rows))


def _listed(file: Path) -> Source:
    """Of a text: a path a line."""
    return _paths(file, ((number, line.rstrip("\r\n")) for number, line in enumerate(read_lines(file, "add"), 1)))


def _paths(file: Path, lines: Iterable[tuple[int, str]]) -> Source:
    items, problems = dict[str, int](), []
    for number, path in lines:
        if not path.strip():
            continue
        place = os.path.abspath(file.parent / path)
        if not is_image(place):
            problems.append(f"add: line {number} of {file} names {name_of(path)}, no image by its name")
        items.setdefault(place, number)
    if problems:
        raise UserError(shortened(problems, f"add: {file}"))
    return Source([(path, None) for path in items])


def _of(listing: Listing) -> Source:
    if listing.problems:
        renamed = (line.removeprefix("data.root: ").removeprefix("data.csv: ") for line in listing.problems)
        raise UserError([f"add: {line}" for line in renamed])
    notes = [*listing.notes, *listing.passed.notes()]
    if listing.test:
        notes.append(f"{count_of(len(listing.test), 'test image')} not added: a project is tested by its audits")
    labeled = ((path, label.strip() if label else None) for path, label in listing.train)
    return Source(_absolute(listing.root, labeled), notes)


def _with(cfg: DataConfig, **fields: Any) -> DataConfig:
    return cfg.model_copy(update=fields)


def _absolute(root: Path, items: Iterable[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Paths of a listing, which are relative to its root or absolute, and normal."""
    top = os.path.join(os.path.abspath(root), "")
    return [(path if path[:1] == os.sep else top + path, label) for path, label in items]


def unknown_classes(source: Source, known: Collection[str]) -> list[str]:
    """The labels that are no classes of the project, sorted."""
    return sorted({label for _, label in source.items if label is not None} - set(known))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(name_of, names[:_SHOWN])) + more
