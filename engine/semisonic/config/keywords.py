"""A call in Python as a command line would say it: fields by their dotted names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semisonic.config.command_line import Arguments
from semisonic.config.renamed import rename
from semisonic.plugins import load_plugins


def keyword_arguments(
    fields: Mapping[str, Any],
    recipe: str | None = None,
    config: Path | None = None,
    resume: bool = False,
    extend: bool = False,
    plugin: str | Path | Sequence[str | Path] = (),
) -> tuple[Arguments, list[str]]:
    """Arguments as `parse_arguments` makes them, and mistakes in their form.

    fields: `{"steps": 9, "optim": {"lr": 0.1}, "algorithm": "vat"}`, dotted names (`"optim.lr"`) included. plugin:
    files of plug-ins, which are run first.
    """
    plugins = load_plugins([plugin] if isinstance(plugin, str | Path) else plugin)
    problems: list[str] = []
    dotted: dict[str, Any] = {}
    for name, value in _flat(fields):
        if name in dotted:
            problems.append(f"{name}: given twice")
        if name == "plugins":
            problems.append("plugins: a plug-in is named with plugin=FILE")
        else:
            dotted[name] = value
    named, notes, both = rename(dotted, dotted=True)
    return Arguments(named, notes, config, recipe, plugins, resume, extend), problems + both


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            yield name, value.item()  # a number of NumPy or torch
        else:
            yield name, value
