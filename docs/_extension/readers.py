"""Where the engine reads a field of its configuration: the files that name it."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

HOLDERS = ("cfg", "config", "self")
"""Names by which a section is known where it is handed over by itself."""


def readers(folder: Path, owners: Mapping[str, str]) -> dict[str, list[str]]:
    """Dotted field -> files below `folder` that read it, in order. owners: dotted field -> the file of its class.

    A file reads `batch.micro` where it has `...batch.micro`, or, in the room of the section's class, `cfg.micro`.
    """
    found: dict[str, list[str]] = {field: [] for field in owners}
    for file in sorted(folder.rglob("*.py")):
        place = file.relative_to(folder).as_posix()
        pairs = set(_pairs(ast.parse(file.read_text(encoding="utf-8"))))
        for field, owner in owners.items():
            section, _, name = field.rpartition(".")
            holder = section.rpartition(".")[2] or "cfg"
            at_home = Path(place).parent == Path(owner).parent
            if (holder, name) in pairs or (at_home and any((other, name) in pairs for other in HOLDERS)):
                found[field].append(place)
    return found


def _pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(what an attribute is taken of, its name): the last two parts of every dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Attribute):
                yield node.value.attr, node.attr
            elif isinstance(node.value, ast.Name):
                yield node.value.id, node.attr
