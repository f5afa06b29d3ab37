"""Tables of stored results: which rows, in which order, and what the columns show.

    entry="method" code
    error="error, %" .2f +- error_half_width
    seconds .1f (seconds_min to seconds_max)

A line is a column: PATH [OPERATOR PATH]["=header"] [FORMAT] [+- PATH] [(PATH to PATH)], of each row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _extension.figures import OPERATORS, evaluate, shown
from _extension.stored import Named, find, holds, items, load
from _extension.words import BadReference, Marked, is_quoted, marked, plain, split, words

CODE = "code"
"""In place of a format: the text as code."""
NOTHING = "–"
"""A cell without a value."""


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place."""

    text: str
    number: bool = False
    code: bool = False


@dataclass(frozen=True)
class Table:
    """A table as a page shows it, and the files it was read from."""

    headers: list[str]
    rows: list[list[Cell]]
    file: str


@dataclass(frozen=True)
class Column:
    """What a column shows: the words of its value, a header, a format, and paths of a half width or a range."""

    value: list[Marked]
    header: str
    spec: str = ""
    half_width: Marked = ()
    ends: tuple[Marked, ...] = ()


def table(argument: str, options: Mapping[str, str], lines: Sequence[str], folder: Path) -> Table:
    """The table of a directive: FILE [PATH], its options, and a line for each column. Raises `BadReference`."""
    file, *path = words(marked(argument))
    if len(path) > 1:
        raise BadReference(f"{argument}: expected FILE [PATH]")
    columns = [_column(marked(line.strip())) for line in lines if line.strip()]
    columns += [_column(piece) for piece in split(marked(options.get("columns", "")), ",") if plain(piece).strip()]
    if not columns:
        raise BadReference("no columns: a line for each, or :columns: with commas between them")
    rows = list(items(Named(find(load(folder / plain(file)), path[0] if path else ()), "")))
    if where := options.get("where"):
        rows = [row for row in rows if holds(row, marked(where))]
    if not rows:
        raise BadReference("where: no row is left" if where else "the file has no row")
    rows = _sorted(rows, options.get("sort", ""))
    names = _names(options.get("names", ""))
    return Table(
        [column.header for column in columns],
        [[_cell(row, column, names, folder) for column in columns] for row in rows],
        plain(file),
    )


def _sorted(rows: list[Named], by: str) -> list[Named]:
    """In the order of a path's values, from the largest where a minus stands before it; empty ones come last."""
    if not by:
        return rows
    path = marked(by.removeprefix("-"))
    values = [find(row, path) for row in rows]
    filled = [i for i, value in enumerate(values) if value is not None]
    if len({isinstance(values[i], str) for i in filled}) > 1 or any(isinstance(values[i], dict | list) for i in filled):
        raise BadReference(f"sort: {by}: the values are not all numbers or all texts")
    order = sorted(filled, key=lambda i: values[i])
    if by.startswith("-"):
        order.reverse()
    return [rows[i] for i in (*order, *(i for i, value in enumerate(values) if value is None))]


def _names(text: str) -> dict[str, str]:
    """NAME="what is shown in its place", separated by commas."""
    pairs = [split(piece, "=") for piece in split(marked(" ".join(text.split())), ",")] if text else []
    for pair in pairs:
        if len(pair) != 2:
            raise BadReference(f"names: {plain(pair[0])}: expected STORED=SHOWN")
    return {plain(stored).strip(): plain(shown).strip() for stored, shown in pairs}


def _column(text: Marked) -> Column:
    value, rest, header = _header(words(text))
    spec = ""
    half_width: Marked = ()
    ends: tuple[Marked, ...] = ()
    while rest:
        word = plain(rest[0])
        if word == "+-" and len(rest) > 1:
            half_width, rest = rest[1], rest[2:]
        elif word.startswith("(") and not is_quoted(rest[0][:1]):
            if len(rest) < 3 or plain(rest[1]) != "to" or not plain(rest[2]).endswith(")"):
                raise BadReference(f"column {plain(text)}: expected (PATH to PATH)")
            ends, rest = (rest[0][1:], rest[2][:-1]), rest[3:]
        elif not spec:
            spec, rest = word, rest[1:]
        else:
            raise BadReference(f"column {plain(text)}: {word} is too much; is a comma missing?")
    return Column(value, header, spec, half_width, ends)


def _header(given: list[Marked]) -> tuple[list[Marked], list[Marked], str]:
    """The words of a column's value, those after it, and its header: the last name of its path where none is given."""
    value, rest = [given[0]], given[1:]
    while len(rest) > 1 and plain(rest[0]) in OPERATORS and not is_quoted(rest[0]) and "=" not in plain(value[-1]):
        value, rest = [*value, rest[0], rest[1]], rest[2:]
    last, header = value[-1], ""
    cuts = [i for i, character in enumerate(last) if character == ("=", False)]
    if cuts and last[cuts[-1] + 1 :] and all(literal for _, literal in last[cuts[-1] + 1 :]):  # in quotes to the end
        header = plain(last[cuts[-1] + 1 :])
        value = [*value[:-1], last[: cuts[-1]]]
    return value, rest, header or plain(split(value[0], "/")[-1]).replace("_", " ")


def _cell(row: Named, column: Column, names: Mapping[str, str], folder: Path) -> Cell:
    try:
        value = evaluate(row, column.value, folder)[0]
        if value is None:
            return Cell(NOTHING, number=bool(column.spec) and column.spec != CODE)
        if isinstance(value, str):
            return Cell(names.get(value, value), code=column.spec == CODE and value not in names)
        text = shown(value, column.spec)
        half_width = find(row, column.half_width) if column.half_width else None
        text += "" if half_width is None else f" ± {shown(half_width, column.spec.lstrip('+'))}"
        if column.ends:
            low, high = (shown(find(row, end), column.spec) for end in column.ends)
            text += f" ({low} to {high})"
    except BadReference as error:
        raise BadReference(f"column {column.header}: {error}") from error
    return Cell(text, number=not isinstance(value, bool))
