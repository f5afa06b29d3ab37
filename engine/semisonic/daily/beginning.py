"""`daily PROJECT init`: a new project, its classes, and the fields of its trainings, checked before it is made."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semisonic.config.command_line import FLAGS, Arguments, assemble, nested, parse_arguments
from semisonic.daily.defaults import under
from semisonic.schema import ExitCode, UserError
from semisonic.text import name_of, printable

DECIDED = {
    "data.name": "it is a folder of images",
    "data.root": "images are taken in by add",
    "data.csv": "images are taken in by add",
    "data.split": "images are taken in by add",
    "data.classes": "give --classes",
    "data.absent_classes": "a class may wait for its first label",
    "data.labels": "all labels of people count",
    "data.labels_from": "all labels of people count",
    "data.test": "accuracy is told by the audit, without test images",
    "data.test_root": "accuracy is told by the audit, without test images",
    "data.test_fraction": "accuracy is told by the audit, without test images",
    "data.held_out": "accuracy is told by the audit, without test images",
    "out": "a training lies in the project's folder runs",
    "baseline": "a project trains one network a day",
}
"""Fields that the project gives itself, and why."""
ALONE = ("config", "recipe", "plugins")
"""Options of a training that are none of its fields."""


def begin(folder: Path, args: argparse.Namespace) -> int:
    """Makes a project. Raises `UserError` with every mistake, before anything is written."""
    problems: list[str] = []
    try:
        classes = args.classes or classes_from(args.classes_from)
    except UserError as error:
        classes, problems = [], error.messages
    if os.path.lexists(folder) and not (folder.is_dir() and all(map(_half_made, os.listdir(folder)))):
        problems.append(f"{folder}: is there already; name a new folder for the project")
    size, fields, wrong = kept_fields(args.fields, classes)
    if problems := problems + wrong:
        raise UserError(problems)
    assert size is not None
    from semisonic.daily.project import Project

    project = Project.create(folder, classes, size, fields, args.who)
    shown = ", ".join(map(name_of, classes[:10])) + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")
    print(printable(f"A project of {len(classes)} classes in {project.folder}: {shown}"))
    print(printable(f"Next: semisonic daily {folder} add FOLDER"))
    return ExitCode.OK


def _half_made(name: str) -> bool:
    """Whether a file is one that a project begins with, but not the last of them."""
    return name.startswith(("labels.db", ".project.yaml.", ".lock"))


def classes_from(folder: Path) -> list[str]:
    """The names of a folder's sub-folders, sorted. Raises `UserError`."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"--classes-from: {folder}: {error.strerror or error}") from error
    if not names:
        raise UserError(f"--classes-from: {folder} has no sub-folders; name the folder that holds one for each class")
    return names


def kept_fields(tokens: Sequence[str], classes: Sequence[str]) -> tuple[int | None, dict[str, Any], list[str]]:
    """The side of the images, the other given fields in sections, and what is wrong with them.

    They are checked as a training would, with a list without images.
    """
    args, problems = parse_arguments(tokens)
    given = [f"--{flag.replace('_', '-')}" for flag in FLAGS if getattr(args, flag)]
    given += [f"--{name.removesuffix('s')}" for name in ALONE if getattr(args, name)]
    problems += [f"{option}: is for semisonic train" for option in given]
    refused = [name for name in args.fields if name in DECIDED or name == "data"]
    problems += [f"--{args.typed[name]}: {DECIDED.get(name, DECIDED['data.name'])}; leave it out" for name in refused]
    if "data.size" not in args.fields:
        problems.append("--data.size: is missing; give the side of the images that the network sees, in pixels")
    own = {name: value for name, value in args.fields.items() if name not in refused}
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as images:
        images.write("path,label\n")
        images.flush()
        stand_in: dict[str, Any] = {
            "data.name": "folder",
            "data.csv": images.name,
            "data.test": "none",
            "data.size": "32",
        }
        if classes:
            stand_in["data.classes"] = list(classes)
        try:
            cfg = assemble(Arguments({**stand_in, **own}, args.notes, typed=args.typed), problems)
        except UserError as error:
            return None, {}, error.messages
    values = cfg.model_dump(mode="json")
    kept = {name: _value(values, name) for name in own if name != "data.size"}
    assert cfg.data.size is not None
    return cfg.data.size, under(nested(kept)[0], cfg.data.size), []


def _value(values: dict[str, Any], name: str) -> Any:
    """The value of a dotted field in nested ones; of a section its name."""
    found: Any = values
    for part in name.split("."):
        found = found[part]
    return found["name"] if isinstance(found, dict) and "name" in found else found
