"""Text that comes from files, their names and their authors: made safe for terminals, for names of files, for CSV and
for JSON. All of it may hold anything: control characters, escape sequences, other writing directions, bytes that are
not UTF-8 (which Python keeps as lone surrogates), and a million letters.
"""

import hashlib
import json
import math
import os
import re
from typing import Any

LONGEST = 8_000
"""Characters of a message; of a longer one the middle is left out."""
LONGEST_NAME = 120
"""Characters of a name inside of a message or a table."""

_LEFT_OUT = " [...] "
_JOINERS = "\u200c\u200d"
"""Which some scripts and emoji are written with; they move nothing on a terminal."""


def printable(text: object, longest: int = LONGEST) -> str:
    """Text in one line that a terminal only shows: what would move its cursor, color it, turn its direction or not be
    seen at all is written as Python writes it, such as \\n, \\x1b or \\u202e; a byte that is not UTF-8 as \\xff.

    Text without any of it stays as it is, and so does what this has returned before.
    """
    line = str(text)
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() or letter in _JOINERS else _escaped(letter) for letter in line)
    if len(line) > longest:
        kept = longest - len(_LEFT_OUT)
        line = f"{line[: kept - kept // 3]}{_LEFT_OUT}{line[-(kept // 3) :]}"
    return line


def name_of(text: object) -> str:
    """A class's or file's name as part of a message or table: `printable`, and not longer than a line."""
    return printable(text, LONGEST_NAME)


def printable_lines(text: object) -> str:
    """`printable`, line by line."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python keeps a byte of a file's name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


# Markdown.

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|~&!$:.@^]")
"""What has a meaning within a line, or makes a link of an address."""


def markdown_text(text: object) -> str:
    """A name as part of a line of Markdown: `name_of`, and nothing of it is markup, HTML or a link."""
    return _MARKS.sub(lambda found: f"\\{found[0]}", name_of(text))


# Names of files.

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_BYTES = 200
"""Of a file's name; most file systems take 255, and an ending comes after it."""


def file_name(text: str) -> str:
    """A name for a file or folder that stands for `text`, whatever that is: never empty, hidden, `..` or with a slash.

    Letters, digits and most marks stay; others become their UTF-8 bytes as %2F, of which `urllib.parse.unquote` makes
    the text again. Names of more than 200 bytes are cut, and end in a digest of the whole.
    """
    name = "".join(
        letter if letter.isprintable() and letter not in '%/\\:*?"<>|' else _percent(letter) for letter in text
    )
    if name[:1] in (".", " ", "~", "-") or _RESERVED.fullmatch(name):
        name = _percent(name[0]) + name[1:]
    if name[-1:] in (".", " "):
        name = name[:-1] + _percent(name[-1])
    encoded = name.encode()
    if len(encoded) > _BYTES:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        kept = re.sub(r"%[0-9A-F]?$", "", encoded[: _BYTES - 13].decode("utf-8", "ignore"))
        name = f"{kept}~{digest}"
    return name or "%"


def _percent(letter: str) -> str:
    try:
        content = os.fsencode(letter)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        content = letter.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in content)


# Cells of CSV.

_FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for a formula, where a cell begins with it."""
_GUARD = ("'=", "'+", "'-", "'@", "''")
"""What a cell begins with that has an apostrophe before its text."""
_GUARDED = (*_FORMULA, *_GUARD)
_HELD = re.compile(r"(?<!\\)(?:(\\*)([\x00-\x1f\x7f\ud800-\udfff])|(\\+)(?=x[0-9a-f]{2}))")
_NOT_UTF8 = re.compile(r"(?<!\\)(?:(\\*)([\ud800-\udfff])|(\\+)(?=x[0-9a-f]{2}))")
_WRITTEN = re.compile(r"(\\+)x([0-9a-f]{2})")


def csv_cell(text: str) -> str:
    """Text as a cell of a CSV that spreadsheets show as text, in one line of UTF-8; `csv_text` is the reverse.

    A control character, or a byte of a file's name that is not UTF-8, is written as \\x0a, and a backslash before such
    letters twice. A cell that begins with =, +, - or @ has an apostrophe before it, and so has one that begins with an
    apostrophe and then one of them, or another apostrophe. (Half of a letter, a surrogate that no file's name has, is
    written as Python writes it, and stays so.)
    """
    cell = _HELD.sub(_write_held, text)
    return f"'{cell}" if cell.startswith(_GUARDED) else cell


def _write_held(found: re.Match[str]) -> str:
    backslashes, letter, before_x = found.groups()
    if letter is None:
        return before_x * 2
    if "\ud800" <= letter < "\udc80" or letter > "\udcff":  # half of a letter, which is no byte of a name either
        return f"{backslashes * 2}\\u{ord(letter):04x}"
    return f"{backslashes * 2}\\x{ord(letter) & 0xFF:02x}"


def utf8_text(text: str) -> str:
    """Text for a file that holds UTF-8 alone, such as Parquet: what is none is written as in `csv_cell`."""
    return _NOT_UTF8.sub(_write_held, text)


def plain_text(held: str) -> str:
    """What `utf8_text` made a text of; other text is returned as it is."""
    return _WRITTEN.sub(_read_held, held) if "\\x" in held else held


def csv_text(cell: str) -> str:
    """What `csv_cell` made a cell of; other cells are returned as they are."""
    if cell.startswith(_GUARD):
        cell = cell[1:]
    return plain_text(cell)


def _read_held(found: re.Match[str]) -> str:
    backslashes, digits = found.groups()
    kept, value = "\\" * (len(backslashes) // 2), int(digits, 16)
    if len(backslashes) % 2 == 0:
        return f"{kept}x{digits}"
    if not (value < 0x20 or value >= 0x7F):  # a letter, which is never written so
        return found[0]
    return kept + chr(value if value < 0x80 else 0xDC00 + value)


# JSON.

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def dump_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser reads. A number that is not finite is the text "nan", "inf" or "-inf", of which `numbers`
    makes it again; null means that there is no number.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def numbers(value: Any) -> Any:
    """What `dump_json` has written as text, as numbers again, in lists too; everything else as it is."""
    if isinstance(value, str):
        return _NOT_FINITE.get(value, value)
    return [numbers(entry) for entry in value] if isinstance(value, list) else value
