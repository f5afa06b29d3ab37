"""Files of bounded size as text, JSON or YAML: what is wrong with one is a `UserError` whose line names the file.

No content makes these readers raise anything else, take more memory than a multiple of their limit, or hang: sizes,
depths, aliases and whole numbers are bounded, names are given once, and what is no regular file is not opened.

JSON and YAML come out as dicts, lists, strings, numbers, booleans and None. Whether numbers are finite is for the
schema of the file to say (`schemas.py`): earlier versions wrote NaN among the figures of a run.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from semisonic.records.files import open_regular
from semisonic.schema import UserError
from semisonic.text import name_of, printable

T = TypeVar("T")

MEGABYTE = 2**20
DEEPEST = 64
"""Objects and lists inside each other."""
TOO_DEEP = f"more than {DEEPEST} sections and lists inside each other"
LARGEST = 2**63
"""Whole numbers lie between this and its negative."""
SHOWN = 60
"""Characters of a value in a message."""


@contextmanager
def regular_file(path: Path, name: str | None = None, pipes: bool = False) -> Iterator[tuple[BinaryIO, int]]:
    """An open file, and its size in bytes.

    name: what messages call it. pipes: whether it may be a pipe, as a shell's `<(...)` is. Raises `UserError` where
    it is missing, no such file, or cannot be read.
    """
    name = name or str(path)
    if "\0" in str(path):
        raise UserError(f"{name_of(name)}: cannot be the path of a file")
    try:
        with open_regular(path, pipes) as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as error:
        raise UserError(f"{name}: {error.strerror or error}") from error


def read_bytes(path: Path, limit: int, name: str | None = None, pipes: bool = False) -> bytes:
    """The content of a file of at most `limit` bytes. Raises `UserError` for a longer one; see `regular_file`."""
    with regular_file(path, name, pipes) as (file, _):
        content = file.read(limit + 1)
    if len(content) > limit:
        most = f"{limit / MEGABYTE:g} MB, the most that such a file may have"
        raise UserError(f"{name or path}: is larger than {most}")
    return content


def read_text(path: Path, limit: int, name: str | None = None, pipes: bool = False) -> str:
    """The same as text in UTF-8, with or without a byte order mark."""
    return decoded(read_bytes(path, limit, name, pipes), name or str(path))


def decoded(content: bytes, name: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not text in UTF-8 (byte {error.start:,})") from error
    if "\0" in text:
        raise UserError(f"{name}: is not text (null byte at character {text.index(chr(0)):,})")
    return text


def read_json(path: Path, limit: int = MEGABYTE, name: str | None = None) -> Any:
    """The content of a JSON file. Raises `UserError`."""
    return parse_json(read_text(path, limit, name), name or str(path))


def parse_json(text: str, name: str) -> Any:
    """The content of JSON in a text; `name` is what messages call the file."""
    if not text.strip():
        raise UserError(f"{name}: is empty")
    twice: list[str] = []

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(entries)
        if len(found) < len(entries) and not twice:
            twice.append(str(first_repeated(key for key, _ in entries)))
        return found

    try:
        content = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise UserError(f"{name}: {TOO_DEEP}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{name}: line {error.lineno}: is not JSON ({error.msg})") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{name}: holds a number that is out of range") from error
    if twice:
        raise UserError(f"{name}: {field_of([twice[0]])}: is given twice")
    check_tree(content, name)
    return content


def first_repeated(values: Iterable[T]) -> T | None:
    """The first value that was there before; None where each is there once."""
    seen: set[T] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def check_tree(content: Any, name: str) -> None:
    """Raises `UserError` where nested content is deeper than is read, or has a value that no field can have."""
    # A stack of iterators, since recursion would end where the caller's stack does.
    stack: list[Iterator[tuple[Any, Any]]] = [iter([("", content)])]
    path: list[Any] = []
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            if path:
                path.pop()
            continue
        key, value = entry
        place = [*path[1:], key] if path else []
        for text in (key, value):
            if isinstance(text, str) and (problem := text_problem(text)):
                raise UserError(f"{name}: {field_of(place)}: {problem}")
        if isinstance(value, int) and not -LARGEST <= value < LARGEST:
            raise UserError(f"{name}: {field_of(place)}: a number that is out of range")
        if isinstance(value, dict | list):
            if len(stack) > DEEPEST:
                raise UserError(f"{name}: {TOO_DEEP}")
            stack.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
            path.append(key)


def text_problem(text: str) -> str | None:
    """Why a string can be no value of a field; None where it can."""
    if text.isascii() and "\0" not in text:
        return None
    if "\0" in text:
        return "has a null character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half a character (a lone surrogate)"
    return None


def field_of(place: list[Any]) -> str:
    """A field's dotted name as a message has it."""
    return name_of(".".join(map(str, place))) if place else "its content"


def shown(value: Any) -> str:
    """A value in a message: what it is, in one short line."""
    if isinstance(value, dict):
        return f"an object of {len(value)} entries"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= LARGEST:
        return "a number that is out of range"  # Python refuses to print more than 4,300 digits
    if value is None:
        return "null"
    return printable(repr(value), SHOWN)


def lines_of(path: Path, limit: int, parse: Callable[[str, str], Any]) -> list[Any]:
    """What `parse(line, name)` makes of each whole line of a file; a last one that is cut off is left out."""
    text = read_text(path, limit)
    whole = text.split("\n")[:-1]
    return [parse(line, f"{path}: line {number}") for number, line in enumerate(whole, start=1)]
