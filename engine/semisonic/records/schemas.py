"""Reading the files that a run writes, by what they may hold (`records.entries`).

Who reads one of them goes through the function of its name here, and gets what the file holds as a dict: nothing is
converted, filled in or left out. Entries that a class does not name are those of later versions, or of the figures that
a method reports, and are kept. Entries of earlier versions are those that may be missing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from semisonic.records import entries
from semisonic.records.reading import MEGABYTE, decoded, field_of, lines_of, parse_json, read_json, shown
from semisonic.schema import UserError
from semisonic.text import name_of

LINES = 5
"""Mistakes of a file that are told; of more, how many there are."""
STATE, METRICS = 256 * MEGABYTE, 4096 * MEGABYTE
"""Limits of files that grow with a run: the history of evaluations, and the metrics."""

M = TypeVar("M", bound=BaseModel)


def status(path: Path) -> dict[str, Any]:
    """What a status.json holds. Raises `UserError`, as all of these functions do."""
    return checked(entries.Status, read_json(path), str(path))


def summary(path: Path) -> dict[str, Any]:
    """What a summary.json holds."""
    return checked(entries.Summary, read_json(path, 64 * MEGABYTE), str(path))


def frozen(path: Path) -> dict[str, Any]:
    """What a frozen.json holds."""
    return checked(entries.FrozenReport, read_json(path, MEGABYTE), str(path))


def state(path: Path) -> dict[str, Any]:
    """What the state.json of a checkpoint holds, of whatever format."""
    return _object(read_json(path, STATE), str(path))


def manifest(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The manifest.json of a checkpoint, which has an entry for each of these names."""
    content = _object(read_json(path), str(path))
    for name in names:
        checked(entries.Written, content.get(name), f"{path}: {name}")
    return content


def lock(content: bytes) -> dict[str, Any]:
    """What the content of a .lock says."""
    return checked(entries.Lock, parse_json(decoded(content, ".lock"), ".lock"), ".lock")


def metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, under the names that they were written with; a last half line is left out."""
    return lines_of(path, METRICS, metrics_line)


def metrics_line(line: str, name: str) -> dict[str, Any]:
    """One of these lines; `name`: where it is, for messages."""
    content = _object(parse_json(line, name), name)
    try:
        return entries.figures(content)
    except PydanticCustomError as error:
        raise UserError(f"{name}: {error}") from error


def checked(model: type[M], content: Any, name: str) -> dict[str, Any]:
    """Content as it is, which `model` accepts. Raises `UserError` with a line for each of the first mistakes."""
    content = _object(content, name)
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise UserError(mistakes(error, name)) from error
    return content


def mistakes(error: ValidationError, name: str) -> list[str]:
    """A line for each of the first mistakes of a file."""
    found = error.errors(include_url=False)
    lines = list(dict.fromkeys(f"{name}: {field_of(_place(item['loc']))}: {_said(item)}" for item in found))
    return lines[:LINES] + ([f"{name}: and {len(lines) - LINES} more mistakes"] if len(lines) > LINES else [])


def _object(content: Any, name: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(f"{name}: {shown(content)}; an object of named entries is needed")
    return content


def _place(loc: Sequence[int | str]) -> list[Any]:
    """Where a mistake is, without pydantic's names of the types that a value may have."""
    # Aliases stand as they are in the file; names of union members have brackets or are those of types.
    return [part for part in loc if not isinstance(part, str) or not (part in _TYPES or "[" in part)]


_TYPES = frozenset({"int", "float", "str", "none", "PseudoLabels", "Head", "Chosen", "Summary"})


def _said(item: Any) -> str:
    """What is wrong with a value, and which it is."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "model_type":
        return f"{shown(item['input'])}; an object of named entries is needed"
    message = item["msg"][:1].lower() + item["msg"][1:]
    custom = item["type"] in ("empty_class", "class_twice", "no_step", "no_figure")
    return name_of(message) if custom else f"{shown(item['input'])}: {name_of(message)}"
