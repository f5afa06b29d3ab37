"""A figure of a page: FILE PATH [OPERATOR PATH] [FORMAT], such as `f.json new/seconds / old/seconds .2f`."""

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _extension.stored import Named, find, load
from _extension.words import BadReference, Marked, is_quoted, marked, plain, words

OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
"""What may stand between two paths; several are taken from left to right."""

MINUS = "−"


def figure(text: str, folder: Path) -> str:
    """What a reference comes to, as a page shows it. Raises `BadReference`."""
    file, *rest = words(marked(text))
    if not rest:
        raise BadReference(f"{text}: expected FILE PATH [FORMAT]")
    try:
        value, left = evaluate(load(folder / plain(file)), rest, folder)
        if len(left) > 1:
            raise BadReference(
                f"{plain(left[1])}: is too much; a format is the last word, and quoted where it has spaces"
            )
        return shown(value, plain(left[0]) if left else "")
    except BadReference as error:
        raise BadReference(f"{plain(file)}: {error}") from error


def files_of(text: str) -> list[str]:
    """The files that a reference reads."""
    return [plain(word) for word in words(marked(text)) if _is_file(word)]


def evaluate(content: Any, given: list[Marked], folder: Path) -> tuple[Any, list[Marked]]:
    """The value of PATH [OPERATOR PATH], and the words that are left. After an operator may stand a number, and a
    further file before its path."""
    value, rest = find(content, given[0]), given[1:]
    while rest and plain(rest[0]) in OPERATORS and not is_quoted(rest[0]):
        sign, rest = plain(rest[0]), rest[1:]
        if not rest:
            raise BadReference(f"{sign}: a path or a number must follow")
        other, rest = _operand(content, rest, folder)
        value = _calculated(value, sign, other)
    return value, rest


def _is_file(word: Marked) -> bool:
    return not is_quoted(word) and plain(word).endswith((".json", ".csv"))


def _operand(content: Any, given: list[Marked], folder: Path) -> tuple[Any, list[Marked]]:
    if _is_file(given[0]):
        if len(given) == 1:
            raise BadReference(f"{plain(given[0])}: a path must follow")
        return find(load(folder / plain(given[0])), given[1]), given[2:]
    if re.fullmatch(r"\d+(\.\d+)?", plain(given[0])) and not is_quoted(given[0]):
        return float(plain(given[0])), given[1:]
    return find(content, given[0]), given[1:]


def _calculated(value: Any, sign: str, other: Any) -> float:
    for one in (value, other):
        if isinstance(one, bool) or not isinstance(one, int | float):
            raise BadReference(f"{one!r} is no number to calculate with")
    if sign == "/" and other == 0:
        raise BadReference("a division by 0")
    return OPERATORS[sign](value, other)


def shown(value: Any, spec: str) -> str:
    """A value by a format specification of Python; as it is stored where there is none. Raises `BadReference`."""
    value = value.value if isinstance(value, Named) else value
    if value is None:
        raise BadReference("is empty in the stored result")
    if isinstance(value, dict | list):
        raise BadReference(f"leads to {len(value)} values; a figure is one")
    try:
        text = format(value, spec)
        return text if isinstance(value, str) else text.replace("-", MINUS, 1) if text.startswith("-") else text
    except ValueError as error:
        raise BadReference(f"{value!r} cannot be shown as {spec!r}: {error}") from error
