"""Stored results by file and path: what a figure or a table of a page refers to.

    compare-digits.csv            a CSV file is a list of rows, each a dictionary by the names of the columns
    entry=fixmatch/error          the only row whose `entry` is fixmatch, and its column `error`
    tasks/digits/rows/0/seconds   keys of dictionaries, and places in lists, from 0
    cells/arm=a&seed=1/error      several conditions; `!=` is one, too, and `arm=a|b` is either
    cells/*arm=a/error/mean()     all rows for which that holds; `*` alone: all. What follows is of each

Quotes and backslashes keep a `/`, `=`, `&`, `|` or space from meaning anything.
"""

import csv
import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from _extension.words import BadReference, Marked, plain, split

SUMMARIES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean()": statistics.fmean,
    "median()": statistics.median,
    "min()": min,
    "max()": max,
    "sum()": sum,
    "deviation()": statistics.stdev,
}
"""What may end a path to several numbers; `count()` and `name()` are further ends."""


@cache
def load(file: Path) -> Any:
    """What a stored result holds: of a CSV file the rows, with numbers where there are any and None where nothing is.

    Raises `BadReference` where there is no such file or it cannot be read.
    """
    if file.suffix not in (".csv", ".json"):
        raise BadReference(f"{file.name}: a stored result is a .csv or a .json file")
    if not file.is_file():
        raise BadReference(f"{file.name}: there is no such file in {file.parent.name}")
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".csv":
        return [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(text.splitlines())]
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadReference(f"{file.name}: {error}") from error


def _value(cell: str) -> Any:
    """A cell of a CSV file as what it is."""
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell or None


@dataclass(frozen=True)
class Named:
    """A value with the key or place by which it is known, which `name()` asks for."""

    value: Any
    name: str


def find(content: Any, path: Marked) -> Any:
    """What a path leads to: one value, or a list of values where a step takes several. Raises `BadReference`."""
    if not path:
        return content
    steps = split(path, "/")
    several = False
    found = [content if isinstance(content, Named) else Named(content, "")]
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if last and several and (text := plain(step)) in (*SUMMARIES, "count()"):
            return _summary(text, [item.value for item in found])
        if last and plain(step) == "count()":
            return _count(found[0])
        if last and plain(step) == "name()":
            return [item.name for item in found] if several else found[0].name
        several = several or plain(step).startswith("*")
        found = [below for item in found for below in _step(item, step)]
    return [item.value for item in found] if several else found[0].value


def _step(item: Named, step: Marked) -> list[Named]:
    text = plain(step)
    if text.startswith("*"):
        conditions = step[1:]
        return [below for below in items(item) if not conditions or holds(below.value, conditions)]
    value = item.value
    if isinstance(value, Mapping) and text in value:
        return [Named(value[text], text)]
    if isinstance(value, Sequence) and not isinstance(value, str) and re.fullmatch(r"-?\d+", text):
        if not -len(value) <= int(text) < len(value):
            raise BadReference(f"{text}: there are {len(value)} in {item.name or 'the file'}")
        return [Named(value[int(text)], text)]
    if len(split(step, "=")) > 1:
        chosen = [below for below in items(item) if holds(below.value, step)]
        if len(chosen) != 1:
            raise BadReference(f"{text}: {len(chosen) or 'none'} of {len(list(items(item)))} rows; expected one")
        return chosen
    known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "a place or NAME=VALUE"
    kind = "is no name" if isinstance(value, Mapping) else f"nothing follows {item.name or 'the file'} by that name"
    raise BadReference(f"{text}: {kind}; expected {known[:300]}")


def items(item: Named) -> Iterator[Named]:
    """What is in a list or a dictionary, one after another. Raises `BadReference` for other values."""
    value = item.value
    if isinstance(value, Mapping):
        yield from (Named(below, str(name)) for name, below in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from (Named(below, str(i)) for i, below in enumerate(value))
    else:
        raise BadReference(f"{item.name or 'the file'}: is {value!r}, no list")


def holds(row: Any, conditions: Marked) -> bool:
    """Whether NAME=VALUE&NAME!=VALUE holds of a row; a name may be a path. Raises `BadReference`."""
    return all(_one_holds(row, condition) for condition in split(conditions, "&"))


def _one_holds(row: Any, condition: Marked) -> bool:
    name, *values = split(condition, "=")
    if not values:
        raise BadReference(f"{plain(condition)}: is no condition; expected NAME=VALUE")
    negated = bool(name) and name[-1] == ("!", False)
    name = name[:-1] if negated else name
    value = find(row, _stripped(name))
    expected = [plain(_stripped(choice)) for choice in split(_stripped(values[0]), "|")]
    return any(same(value, choice) for choice in expected) != negated


def _stripped(characters: Marked) -> Marked:
    space = (" ", False)
    while characters and characters[0] == space:
        characters = characters[1:]
    while characters and characters[-1] == space:
        characters = characters[:-1]
    return characters


def same(value: Any, text: str) -> bool:
    """Whether a stored value is what a text says: numbers by their value, nothing by an empty text."""
    if value is None:
        return text == ""
    if isinstance(value, bool):
        return text == str(value).lower()
    if isinstance(value, int | float):
        try:
            return bool(value == float(text))
        except ValueError:
            return False
    return bool(value == text)


def _summary(name: str, values: list[Any]) -> float:
    if name == "count()":
        return len(values)
    if bad := [value for value in values if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise BadReference(f"{name}: {bad[0]!r} is no number")
    if len(values) < (2 if name == "deviation()" else 1):
        raise BadReference(f"{name}: of {len(values)} numbers")
    return SUMMARIES[name](values)


def _count(item: Named) -> int:
    return len(list(items(item)))
