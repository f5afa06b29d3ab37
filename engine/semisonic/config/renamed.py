"""Fields, and values to choose from, that had another name once: who gives the old one is understood, and told the new.

To rename a field, rename it where it is and add a line to `RENAMED`. A line counts once its new name is a field (or a
value that the field can have), so the table holds for whatever is registered.
"""

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

from semisonic.distributed.variables import rank
from semisonic.schema import Config


@dataclass(frozen=True)
class Renames:
    """Old names and what they are now."""

    fields: Mapping[str, str]
    """Dotted names: old -> new."""
    values: Mapping[str, Mapping[str, str]]
    """Values by the dotted field, as it is called now: old -> new."""

    def among(self, choices: Mapping[str, set[Any]]) -> "Renames":
        """Those whose new names are in use; choices: of every field the values to choose from, as `choices_of` says."""
        values = {
            field: {old: new for old, new in names.items() if new in choices[field] and old not in choices[field]}
            for field, names in self.values.items()
            if field in choices
        }
        fields = {old: new for old, new in self.fields.items() if new in choices and old not in choices}
        return Renames(fields, {field: names for field, names in values.items() if names})


RENAMED = Renames(
    fields={
        "algorithm.mix_labelled": "algorithm.mix_labeled",
        "algorithm.normaliser": "algorithm.normalizer",
        "batch.labelled": "batch.labeled",
        "batch.unlabelled_ratio": "batch.unlabeled_ratio",
        "data.normalise": "data.normalize",
        "data.unlabelled_includes_labelled": "data.unlabeled_includes_labeled",
    },
    values={"algorithm.statistics": {"labelled": "labeled"}},
)
"""Version 0.1.0 was spelled in British English; torch writes American, and so do we since."""


class Renamed(NamedTuple):
    fields: dict[str, Any]
    """What was given, under the present names."""
    notes: list[str]
    """A line for each old name or value in it."""
    problems: list[str]
    """A line for each field that was given under both of its names; the new one is in `fields`."""


def rename(given: Mapping[str, Any], renames: Renames | None = None, dotted: bool = False) -> Renamed:
    """Fields as somebody gave them, under their present names. dotted: `{"a.b": 1}` in place of `{"a": {"b": 1}}`.

    renames: what to rename; by default what any algorithm's configuration has renamed. `given` stays as it is.
    """
    renames = current() if renames is None else renames
    fields, notes, problems = copy.deepcopy(dict(given)), [], []
    for old, new in renames.fields.items():
        section, name = _place(fields, old, dotted)
        if name not in section:
            continue
        value = section.pop(name)
        _drop_empty(fields, old)
        section, name = _place(fields, new, dotted, make=True)
        if name in section:
            problems.append(f"{old} and {new} are the old and the new name of one field; give {new} alone")
            continue
        section[name] = value
        notes.append(f"{old} is now called {new}")
    for field, names in renames.values.items():
        section, name = _place(fields, field, dotted)
        value = section.get(name)
        if isinstance(value, str) and value in names:
            section[name] = names[value]
            notes.append(f"{field}: {value} is now called {names[value]}")
    return Renamed(fields, notes, problems)


def _place(fields: dict[str, Any], name: str, dotted: bool, make: bool = False) -> tuple[dict[str, Any], str]:
    """The section that a field is in, and the field's name there; an empty section where there is none."""
    if dotted:
        return fields, name
    *sections, leaf = name.split(".")
    for section in sections:
        inner = fields.setdefault(section, {}) if make else fields.get(section)
        if not isinstance(inner, dict):
            return {}, leaf
        fields = inner
    return fields, leaf


def _drop_empty(fields: dict[str, Any], name: str) -> None:
    """Removes the sections that a field was in, where nothing else is left in them."""
    section, _, leaf = name.rpartition(".")
    while section:
        holder, leaf = _place(fields, section, dotted=False)
        if holder.get(leaf) != {}:
            return
        del holder[leaf]
        section = section.rpartition(".")[0]


def rename_section(name: str, kind: type[Config], content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one section under their present names; `kind`: what it is."""
    renames = RENAMED.among(choices_of(kind, f"{name}."))
    renamed: dict[str, Any] = rename({name: dict(content)}, renames).fields.get(name, {})
    return renamed


def announce(notes: Iterable[str]) -> None:
    """Prints notes on the main process, each once in its life."""
    for note in notes:
        _announce(note)


@cache
def _announce(note: str) -> None:
    if rank() == 0:
        print(note, file=sys.stderr)


def current() -> Renames:
    """The renamed fields and values of a run's configuration, with any algorithm and add-on that is registered now."""
    # Not at the top: `semisonic.load` takes a section, and needs none of what a run's configuration imports.
    from semisonic.addons.registry import ADD_ONS
    from semisonic.algorithms.registry import ALGORITHMS

    return _renames_of((*ALGORITHMS, *ADD_ONS))


@cache
def _renames_of(registered: tuple[str, ...]) -> Renames:
    """`current`, made once for the names that are registered."""
    from semisonic.addons.registry import ADD_ONS
    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.config.run_config import RunConfig

    choices = choices_of(RunConfig)
    for algorithm in ALGORITHMS.values():
        for name, values in choices_of(algorithm.Config, "algorithm.").items():
            choices.setdefault(name, set()).update(values)
    fields = dict(RENAMED.fields)
    for addon, kind in ADD_ONS.items():
        choices |= choices_of(kind.Config, f"addons.{addon}.")
        fields |= {old: f"addons.{addon}.{new}" for old, new in kind.former_fields.items()}
    return replace(RENAMED, fields=fields).among(choices)


def choices_of(model: type[Config], prefix: str = "") -> dict[str, set[Any]]:
    """Every field of a configuration and its sections by its dotted name, with the values that a Literal offers."""
    result: dict[str, set[Any]] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            result |= choices_of(kind, f"{prefix}{name}.")
        else:
            result[prefix + name] = set(_literals(kind))
    return result


def _literals(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        if get_origin(annotation) is Literal:
            yield part
        else:
            yield from _literals(part)
