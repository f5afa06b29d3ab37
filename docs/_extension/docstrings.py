"""Docstrings of this project, which are plain text, as Markdown and as reStructuredText.

Text between single backticks is code. Lines that are indented deeper than the text are shown as they are: equations and
examples. Lines that begin with `* ` or `- ` are a list. Nothing else is markup.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

Kind = Literal["text", "code", "list"]
CODE = re.compile(r"(``?)(.+?)\1", re.DOTALL)
ITEM = re.compile(r"[*-] ")


def blocks(lines: Sequence[str]) -> Iterator[tuple[Kind, list[str]]]:
    """The paragraphs of a docstring whose common indentation is gone, each with its kind."""
    kind: Kind = "text"
    found: list[str] = []
    for line in [*lines, ""]:
        if not line.strip():
            if found and kind == "code":
                found.append("")  # a block may go on below an empty line
                continue
            if found:
                yield kind, found
            found = []
            continue
        new = _kind(line, kind, bool(found))
        if found and new != kind:
            yield kind, _stripped(found)
            found = []
        kind = new
        found.append(line)
    if found:
        yield kind, _stripped(found)


def _kind(line: str, kind: Kind, inside: bool) -> Kind:
    if ITEM.match(line):
        return "list"
    if line.startswith("  "):
        return "list" if inside and kind == "list" else "code"
    return "text"


def _stripped(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def items(lines: Sequence[str]) -> list[str]:
    """The items of a list, each on one line."""
    found: list[str] = []
    for line in lines:
        if ITEM.match(line):
            found.append(line[2:].strip())
        else:
            found[-1] += f" {line.strip()}"
    return found


def markdown(text: str) -> str:
    """A docstring as Markdown."""
    parts = []
    for kind, lines in blocks(text.splitlines()):
        if kind == "code":
            indent = min(len(line) - len(line.lstrip()) for line in lines if line)
            parts.append("\n".join(["```text", *(line[indent:] for line in lines), "```"]))
        elif kind == "list":
            parts.append("\n".join(f"- {inline(item)}" for item in items(lines)))
        else:
            parts.append(inline("\n".join(lines)))
    return "\n\n".join(parts)


def inline(text: str) -> str:
    """Text with code in backticks, whose other signs mean nothing in Markdown."""
    return _outside_code(text, lambda plain: re.sub(r"([\\*_<>\[\]{}|$#~])", r"\\\1", plain), "`")


def cell(text: str) -> str:
    """The same for a cell of a table, on one line."""
    return inline(" ".join(text.split()))


def restructured(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    found: list[str] = []
    for kind, own in blocks(lines):
        if kind == "code":
            found += ["::", "", *(f"    {line}" for line in own), ""]
        elif kind == "list":
            found += [*(f"* {_escaped(item)}" for item in items(own)), ""]
        else:
            found += [*_escaped("\n".join(own)).splitlines(), ""]
    return found


def _escaped(text: str) -> str:
    return _outside_code(text, lambda plain: re.sub(r"([\\*_|`])", r"\\\1", plain), "``")


def _outside_code(text: str, change: Callable[[str], str], quote: str) -> str:
    found, end = [], 0
    for match in CODE.finditer(text):
        found += [change(text[end : match.start()]), f"{quote}{' '.join(match[2].split())}{quote}"]
        end = match.end()
    return "".join([*found, change(text[end:])])
