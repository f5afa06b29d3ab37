"""YAML of bounded size, depth and expansion; see `reading.py`.

Aliases count as often as what they stand for is read, so that a few lines cannot stand for billions. Names that are
given twice are mistakes, with their line. No tag makes an object, and dates stay text, as no field is one.
"""

from pathlib import Path
from typing import Any

import yaml

from semisonic.records.reading import DEEPEST, MEGABYTE, TOO_DEEP, check_tree, read_text
from semisonic.schema import UserError
from semisonic.text import name_of

LIMIT = 4 * MEGABYTE
"""Of a configuration: class names are most of a large one."""
LONGEST_NAME = 256
"""Characters of a field's name."""
MOST = 300_000
"""Values of a file, aliases counted as what they stand for."""
TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map"))
"""What may be written as a tag."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


class _Loader(_Base):
    """The safe loader, for which dates are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
    for first, rules in _Base.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, name: str | None = None, pipes: bool = False) -> Any:
    """The content of a YAML file: None for an empty one. Raises `UserError`; see `read_bytes`."""
    return parse_yaml(read_text(path, LIMIT, name, pipes), name or str(path))


def parse_yaml(text: str, name: str) -> Any:
    """The content of YAML in a text; `name` is what messages call the file."""
    try:
        _check(text, name)
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        problem = error.problem or "damaged"
        # The parser in C has a limit of its own, which it may meet before its events are seen here.
        text = TOO_DEEP if "nesting depth" in problem else f"is not YAML ({name_of(problem)})"
        raise UserError(f"{name}: {line}{text}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{name}: is not YAML ({name_of(' '.join(str(error).split()))})") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # What its constructors make of numbers that are none: `0x`, `1:99:`, thousands of digits.
        raise UserError(f"{name}: holds a value that cannot be read ({name_of(error)})") from error
    check_tree(content, name)
    return content


class _Open:
    """A section or list that is being read."""

    def __init__(self, event: yaml.CollectionStartEvent):
        self.names: set[str] | None = set() if isinstance(event, yaml.MappingStartEvent) else None
        self.anchor: str | None = event.anchor
        self.entries = 0
        self.size = 1


def _check(text: str, name: str) -> None:
    """Raises `UserError` by the events of a text, before anything is made of it."""
    open_: list[_Open] = []
    sizes: dict[str, int] = {}
    total = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        line = f"{name}: line {event.start_mark.line + 1}"
        if isinstance(event, yaml.CollectionEndEvent):
            ended = open_.pop()
            _count(open_, ended.anchor, ended.size, sizes)
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if (tag := getattr(event, "tag", None)) not in (None, "!") and tag not in TAGS:
            raise UserError(f"{line}: the tag {name_of(tag)} is not read")
        if open_:
            _check_name(open_[-1], event, line)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_) >= DEEPEST:
                raise UserError(f"{line}: {TOO_DEEP}")
            open_.append(_Open(event))
            size = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise UserError(f"{line}: the alias {name_of(event.anchor)} stands for nothing before it")
            size = sizes[event.anchor]
            _count(open_, None, size, sizes)
        else:
            size = 1
            _count(open_, event.anchor, size, sizes)
        total += size
        if total > MOST:
            raise UserError(f"{line}: more than {MOST:,} values, aliases counted as what they stand for")


def _count(open_: list[_Open], anchor: str | None, size: int, sizes: dict[str, int]) -> None:
    if anchor is not None:
        sizes[anchor] = size
    if open_:
        open_[-1].size += size


def _check_name(section: _Open, event: yaml.NodeEvent, line: str) -> None:
    """Looks at an entry of an open section: every other one is a name."""
    section.entries += 1
    if section.names is None or section.entries % 2 == 0:
        return
    if not isinstance(event, yaml.ScalarEvent):
        raise UserError(f"{line}: a name is needed where a list, section or alias is")
    if len(event.value) > LONGEST_NAME:
        raise UserError(f"{line}: a name of {len(event.value):,} characters; at most {LONGEST_NAME} are read")
    if event.value in section.names and event.value != "<<":
        raise UserError(f"{line}: {name_of(event.value)} is given twice")
    section.names.add(event.value)
