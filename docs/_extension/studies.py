"""The directive `study`: what a study has found, or that it is not measured yet.

    ```{study} study-ema-digits.json
    ```

Nobody types the sentences or the figures: they are those of the stored result, which `semisonic study` writes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _extension.figures import shown
from _extension.stored import load
from _extension.tables import NOTHING, Cell, Table
from _extension.words import BadReference

NAME = re.compile(r"study-([a-z]+)-([a-z0-9-]+)\.json$")
"""Of a stored study: its name and its data."""


@dataclass(frozen=True)
class Part:
    """A table under what it is about, and what a reader must know of it."""

    title: str
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Found:
    """What a study has found: its sentences, one a factor, its tables and its notes."""

    said: list[str]
    parts: list[Part]
    notes: list[str]


def command_of(file: str) -> str:
    """The command that measures what would be stored under this name. Raises `BadReference`."""
    match = NAME.fullmatch(file)
    if not match:
        raise BadReference(f"{file}: is no name of a study; expected study-NAME-DATA.json")
    return f"semisonic study {match[1]} --data {match[2]}"


def study(file: str, folder: Path) -> Found | None:
    """A stored study; None where it has not been stored. Raises `BadReference` where it is none."""
    command_of(file)
    if not (folder / file).is_file():
        return None
    content = load(folder / file)
    try:
        if "points" in content:
            return Found(_kept_together(content["said"]), [Part("", _points(content["points"], file))], [])
        parts = [
            Part(factor["name"], _factor(factor, content["settings"], file), factor.get("note", ""))
            for factor in content["factors"]
        ]
        said = _kept_together(factor["said"] for factor in content["factors"])
        return Found(said, parts, [*content.get("notes", ())])
    except (KeyError, TypeError) as error:
        raise BadReference(f"{file}: is no study: {type(error).__name__} {error}") from error


def _kept_together(lines: Iterable[str]) -> list[str]:
    """Sentences in which no line ends inside a figure with its interval; with a minus for a hyphen before a number."""
    return [re.sub(r"(?<=[( ])-(?=\d)", "\u2212", line.replace(" \u00b1 ", "\u00a0\u00b1\u00a0")) for line in lines]


def _factor(factor: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], file: str) -> Table:
    """A factor's baseline, and below it what was tried in its place."""
    rows = [(own, difference) for own in settings for difference in own["differences"]
            if difference["factor"] == factor["name"]]  # fmt: skip
    order = {name: i for i, name in enumerate(factor["others"])}
    rows.sort(key=lambda pair: order[pair[1]["has"]])
    bases = {difference["baseline"] for _, difference in rows}
    base = [own for own in settings if own["name"] in bases]
    headers = ["", "error, %", "difference", "runs", "seconds of a run", "image passes of a run"]
    lines = [[Cell(factor["baseline"]), *_figures(own, {})] for own in base]
    lines += [[Cell(difference["has"]), *_figures(own, difference)] for own, difference in rows]
    if not lines:
        raise BadReference(f"{file}: {factor['name']} has no finished run")
    return Table(headers, lines, file)


def _figures(own: Mapping[str, Any], difference: Mapping[str, Any]) -> list[Cell]:
    return [
        _estimate(own, "error", ".2f"), _estimate(difference, "difference", "+.2f"), _number(own["runs"], ""),
        _number(own["seconds"], ",.0f"), _number(own["image_passes"], ","),
    ]  # fmt: skip


def _points(points: Sequence[Mapping[str, Any]], file: str) -> Table:
    """Errors by method, way to choose and number of labels."""
    headers = ["method", "images", "labels", "error, %", "behind the best", "behind random images"]
    lines = [
        [Cell(point["algorithm"], code=True), Cell(point["choose"]), _number(point["labels"], ""),
         _estimate(point, "error", ".2f"), _estimate(point, "behind_best", "+.2f"),
         _estimate(point, "against_random", "+.2f")]
        for point in points
    ]  # fmt: skip
    return Table(headers, lines, file)


def _estimate(values: Mapping[str, Any], name: str, spec: str) -> Cell:
    mean, half = values.get(name), values.get(f"{name}_half_width")
    if mean is None:
        return Cell(NOTHING, number=True)
    return Cell(shown(mean, spec) + ("" if half is None else f" ± {shown(half, spec.lstrip('+'))}"), number=True)


def _number(value: Any, spec: str) -> Cell:
    return Cell(NOTHING if value is None else shown(value, spec), number=True)
