"""The configuration of a project's run: the command line over project.yaml over the recipe, and over all of them what
the project decides itself."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semisonic.config.command_line import FLAGS, Arguments, assemble, parse_arguments
from semisonic.config.run_config import RunConfig
from semisonic.daily.beginning import ALONE, DECIDED
from semisonic.daily.project import Project
from semisonic.schema import UserError

SNAPSHOTS = 10
"""Of a run's second half: their mean opinion of an auto-label is half of its certainty."""
OWN = DECIDED | {"data.size": "project.yaml has that of all its networks"}
"""Fields that a training may not be given, and why."""


class Asked(NamedTuple):
    """The fields of a command line, and what is wrong with them."""

    arguments: Arguments
    problems: list[str]


def parse(args: argparse.Namespace) -> Asked:
    """Takes the fields of a training apart. Of options, they may hold none."""
    arguments, problems = parse_arguments(args.fields)
    given = [f"--{flag.replace('_', '-')}" for flag in FLAGS if getattr(arguments, flag)]
    given += [f"--{name.removesuffix('s')}" for name in ALONE if getattr(arguments, name)]
    problems += [f"{option}: is for semisonic train; `train` goes on with a stopped run by itself" for option in given]
    refused = [name for name in arguments.fields if name in OWN or name == "data"]
    problems += [f"--{arguments.typed[name]}: {OWN.get(name, OWN['data.name'])}; leave it out" for name in refused]
    for name in refused:
        del arguments.fields[name]
    return Asked(arguments, problems)


def begun(
    project: Project, asked: Asked, classes: Sequence[str], run: str, init: Path | None, problems: Sequence[str] = ()
) -> RunConfig:
    """The configuration of a new run in `runs/RUN`, whose `data.csv` is still a list without images.

    init: what it starts from, if not what the fields say. problems: what is wrong beside the fields. Raises `UserError`
    with every mistake.
    """
    args, wrong = asked
    if init is not None and "init" in args.fields:
        wrong = [*wrong, "--init: --warm starts from the newest network; give one of the two"]
    decided: dict[str, Any] = {
        "data.name": "folder", "data.root": str(project.folder), "data.size": project.size, "data.test": "none",
        "data.classes": list(classes), "data.absent_classes": "warn", "out": str(project.runs / run),
        "baseline": False,
    }  # fmt: skip
    if init is not None:
        decided["init"] = str(init)
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as images:
        images.write("path,label\n")
        images.flush()
        args.fields |= decided | {"data.csv": images.name}
        under = _merged({"checkpoint": {"snapshots": SNAPSHOTS}}, project.settings.fields)
        try:
            cfg = assemble(args, wrong, under)
        except UserError as error:
            raise UserError([*problems, *error.messages]) from error
    if problems:
        raise UserError(problems)
    return cfg


def continued(project: Project, asked: Asked, run: str) -> RunConfig:
    """The configuration of a run as it was begun, with the fields that are given now, which may change little.

    Raises `UserError`.
    """
    args, wrong = asked
    args.fields["out"], args.resume = str(project.runs / run), True
    return assemble(args, wrong)


def _merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """`high` over `low`, section by section."""
    both = dict(low)
    for name, value in high.items():
        own = both.get(name)
        both[name] = _merged(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
    return both
