"""CSV that people made, or this program: read line by line, strictly, with bounds.

What cannot be read as it was meant is a `UserError` that names the file and the line: other encodings and separators,
null bytes, quotation marks that are not closed. Cells that this program made safe for spreadsheets (`text.csv_cell`)
are read as the text that they stand for.
"""

import codecs
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from semisonic.records.files import open_regular
from semisonic.schema import UserError
from semisonic.text import csv_text, name_of

LONGEST_LINE = 2**20
"""Characters of a line."""
SHOWN = 10
"""Columns that a message names."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_OTHER = {
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
"""What a file begins with -> its encoding."""


class Row(NamedTuple):
    """A line below the header."""

    line: int
    """Its number in the file, the header being line 1."""
    cells: list[str]
    """As many as the line has, which may be another number than the header's."""


class Table(NamedTuple):
    """A CSV while it is read."""

    header: list[str]
    rows: Iterator[Row]
    """Without empty lines. Raises `UserError`."""

    def places(self, columns: Sequence[str]) -> list[int | None]:
        """Where the columns are in a row; None where the file has none of this name."""
        return [self.header.index(column) if column in self.header else None for column in columns]


def open_csv(path: Path, field: str, most: int | None = None) -> Table:
    """The CSV that a configuration's field names; it is closed when its rows have been read, or are let go.

    most: bytes that it may have. Raises `UserError` for a file that is none, and so do its rows.
    """
    lines = _lines(path, field, most)
    rows = _rows(lines, path, field)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{field}: {path} is empty; its first line must name the columns")
    return Table([cell.strip() for cell in first.cells], rows)


def check_columns(table: Table, path: Path, field: str, needed: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raises `UserError` where a needed column is missing, or one that is read is there twice."""
    header = table.header
    if missing := [column for column in needed if column not in header]:
        also = f" and optionally {', '.join(others)}" if others else ""
        found = ", ".join(map(name_of, header[:SHOWN])) + (f" and {len(header) - SHOWN} more" * (len(header) > SHOWN))
        raise UserError(
            f"{field}: {path} has no column {' and no column '.join(missing)}; its first line must name "
            f"{', '.join(needed)}{also} (found: {found or 'nothing'}){separated(table, *needed)}"
        )
    if twice := [column for column in (*needed, *others) if header.count(column) > 1]:
        raise UserError(f"{field}: {path} has the column {twice[0]} {header.count(twice[0])} times; keep one")


def separated(table: Table, *columns: str) -> str:
    """What to do where the columns, which are missing, are separated by something else than commas; or nothing."""
    line = table.header[0] if len(table.header) == 1 else ""
    for mark, name in _SEPARATORS.items():
        if set(columns).intersection(map(str.strip, line.split(mark))) and mark in line:
            return f"; its columns are separated by {name}: save it with commas"
    return ""


def read_lines(path: Path, field: str) -> Iterator[str]:
    """The lines of a text in UTF-8, with the same bounds; with their ends. Raises `UserError`."""
    return _lines(path, field, None)


def _rows(lines: Iterator[str], path: Path, field: str) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    while True:
        begin = reader.line_num + 1
        where = f"{field}: line {begin} of {path}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            unclosed = reader.line_num > begin or "unexpected end" in str(error)
            hint = "; is a quotation mark not closed?" if unclosed else ""
            raise UserError(f"{where} cannot be read: {error}{hint}") from error
        if cells is None:
            return
        if reader.line_num > begin:
            raise UserError(f"{where} goes on to line {reader.line_num}; is a quotation mark not closed?")
        if cells:
            # A call for each of a million cells takes as long as reading them.
            yield Row(begin, [csv_text(cell) if "\\" in cell or cell[:1] == "'" else cell for cell in cells])


def _lines(path: Path, field: str, most: int | None) -> Iterator[str]:
    try:
        with open_regular(path) as file:
            if most is not None and (size := os.fstat(file.fileno()).st_size) > most:
                raise UserError(f"{field}: {path} has {size:,} bytes; at most {most:,} are read")
            start = file.read(4)
            if other := next((name for mark, name in _OTHER.items() if start.startswith(mark)), None):
                raise UserError(f"{field}: {path} is {other}; save it as UTF-8")
            file.seek(0)
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
                yield from _bounded(text, path, field)
    except FileNotFoundError as error:
        raise UserError(f"{field}: no such file: {path}") from error
    except OSError as error:
        raise UserError(f"{field}: cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line, byte = _not_utf8(path)
        raise UserError(f"{field}: line {line} of {path} is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8") from error
    except ValueError as error:
        raise UserError(f"{field}: {path} {error}") from error


def _bounded(text: IO[str], path: Path, field: str) -> Iterator[str]:
    number = 0
    while line := text.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UserError(f"{field}: line {number} of {path} has more than {LONGEST_LINE:,} characters")
        if "\0" in line:
            raise UserError(f"{field}: line {number} of {path} holds a null byte; is it a CSV?")
        yield line


def _not_utf8(path: Path) -> tuple[int, int]:
    """Number and first byte of what is not UTF-8 in a file that is read no further."""
    number = 0
    with open_regular(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE * 4), b""), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return number, line[error.start]
    return number, 0
