"""What came of a command: its code, what it printed, and what it left in its folder; and what may be asked of that."""

import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """Of one command."""

    code: int | None
    """The exit code of the shell; None where it had to be killed at its time limit."""
    text: str
    """Both of its streams, the folder written as $W and the checkout as $CODE."""
    folder: Path
    """The working directory that it had to itself; W."""
    seconds: float = 0.0


Check = Callable[[Outcome], str]
"""Says what is not as it should be, or nothing."""


@dataclass(frozen=True)
class Expected:
    """What an outcome is compared with."""

    codes: tuple[int | None, ...] = ()
    """Any of these; no codes: any."""
    says: tuple[str, ...] = ()
    """Regular expressions that are found in what was printed."""
    silent: tuple[str, ...] = ()
    """Regular expressions that are not."""
    checks: tuple[Check, ...] = ()

    def problems(self, outcome: Outcome) -> list[str]:
        """What is otherwise, a line each."""
        found = []
        if self.codes and outcome.code not in self.codes:
            found.append(f"exit code {outcome.code}, not {' or '.join(map(str, self.codes))}")
        found += [f"nothing printed matches {each!r}" for each in self.says if not _search(each, outcome.text)]
        found += [f"what was printed matches {each!r}" for each in self.silent if _search(each, outcome.text)]
        return found + [problem for check in self.checks if (problem := check(outcome))]


def _search(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None


def run_folder(outcome: Outcome) -> Path:
    """The folder of the only run that a command left (`runs/NAME`)."""
    found = sorted(outcome.folder.glob("**/config.yaml"), key=lambda file: len(file.parts))
    if not found:
        raise FileNotFoundError("no run was left")
    return found[0].parent


def classes_are(*names: str) -> Check:
    def check(outcome: Outcome) -> str:
        import yaml

        found = yaml.safe_load((run_folder(outcome) / "config.yaml").read_text())["data"]["classes"]
        return "" if found == list(names) else f"the run's classes are {found}, not {list(names)}"

    return check


def labeled_images(count: int) -> Check:
    def check(outcome: Outcome) -> str:
        with np.load(run_folder(outcome) / "split.npz") as split:
            found = len(split["labelled"])
        return "" if found == count else f"{found} labeled images, not {count}"

    return check


def exists(*patterns: str) -> Check:
    def check(outcome: Outcome) -> str:
        missing = [each for each in patterns if not any(outcome.folder.glob(each))]
        return f"there is no {', '.join(missing)}" if missing else ""

    return check


def leaves_nothing(*patterns: str) -> Check:
    def check(outcome: Outcome) -> str:
        found = [str(path.relative_to(outcome.folder)) for each in patterns for path in outcome.folder.glob(each)]
        return f"there is {', '.join(sorted(found)[:3])}" if found else ""

    return check


def rows(count: int, file: str = "out.csv") -> Check:
    def check(outcome: Outcome) -> str:
        with open(outcome.folder / file, newline="", errors="surrogateescape") as table:
            found = len(list(csv.DictReader(table)))
        return "" if found == count else f"{file} has {found} rows, not {count}"

    return check


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def json_files(outcome: Outcome) -> Iterator[tuple[Path, str]]:
    for file in sorted(outcome.folder.rglob("*.json*")):
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        yield from ((file, line) for line in lines)


def strict_json(outcome: Outcome) -> str:
    """Whether all JSON that was written is JSON."""
    for file, line in json_files(outcome):
        try:
            json.loads(line, parse_constant=_no_constant)
        except ValueError as error:
            return f"{file.name}: {error}"
    return ""


def average_near_raw(distance: float) -> Check:
    """Whether the EMA network is at most so much worse than the raw one, of test accuracies in percent."""

    def check(outcome: Outcome) -> str:
        found = json.loads((run_folder(outcome) / "summary.json").read_text())
        average, raw = found["test_top1"], found["test_top1_raw"]
        return "" if raw - average <= distance else f"EMA {average:.0f} %, raw {raw:.0f} %"

    return check


def no_image_of(name: str) -> Check:
    """Whether no table of images that the command wrote has a path with this in it."""

    def check(outcome: Outcome) -> str:
        for file in sorted(outcome.folder.rglob("*.npz")):
            with zipfile.ZipFile(file) as archive:
                if any(name.encode() in archive.read(member) for member in archive.namelist()):
                    return f"{file.relative_to(outcome.folder)} has images of {name}"
        return ""

    return check


def opposite(check: Check, problem: str) -> Check:
    return lambda outcome: "" if check(outcome) else problem
