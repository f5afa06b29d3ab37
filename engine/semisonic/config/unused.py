"""Fields that are given where they have no effect: mistakes, since whoever gives a field expects something of it.

A field says itself on which other one it depends (`schema.UsedWith`). Only what the user says counts: a recipe, and the
configuration that a run has saved, may hold what another of their fields leaves unused. A value that asks for nothing
(the default, none, false) is always accepted.
"""

from collections.abc import Collection
from typing import Any

from semisonic.config.fields import shown
from semisonic.config.run_config import RunConfig
from semisonic.schema import UsedWith


def unused_problems(
    cfg: RunConfig, line: Collection[str], file: Collection[str] = (), wrong: Collection[str] = ()
) -> list[str]:
    """What has no effect of the fields that are given, one line each.

    line: dotted fields of the command line, or of a call in Python. file: those of a file of the user's own. wrong:
    what is wrong with fields otherwise, a line each: what depends on such a field is not judged.
    """
    mistaken = {problem.partition(":")[0] for problem in wrong}
    active = {addon.name for addon in cfg.composition.addons}
    problems = []
    for name in dict.fromkeys((*line, *file)):
        *sections, leaf = name.split(".")
        section: Any = cfg
        for inner in sections:
            section = getattr(section, inner, None)
        info = getattr(type(section), "model_fields", {}).get(leaf)
        value = getattr(section, leaf, None)
        if info is None or name in mistaken or asks_for_nothing(value, info.default):
            continue
        # Where the command line changes what a field of the file depends on, it means to take that one's effect.
        unjudged = mistaken if name in line else {*mistaken, *line}
        marks = {".".join((*sections, mark.field)): mark for mark in info.metadata if isinstance(mark, UsedWith)}
        values = {switch: getattr(section, mark.field) for switch, mark in marks.items()}
        unmet = [switch for switch, mark in marks.items() if not mark.holds(values[switch]) and switch not in unjudged]
        lost = f"{name}: {shown(value)} has no effect"
        if unmet:
            problems.append(f"{lost} with {unmet[0]}={values[unmet[0]]}; {_instead(unmet[0], marks[unmet[0]])}")
        elif not marks and value and sections[:1] == ["addons"] and name in line and sections[1] not in active:
            problems.append(f"{lost}, for the run has no {sections[1]}; leave it out")
    return problems


def asks_for_nothing(value: Any, default: Any) -> bool:
    return value is None or value is False or value == default or value in ("none", "off")


def _instead(switch: str, mark: UsedWith) -> str:
    """What to do about it."""
    choices = " or ".join(value for value in mark.values if isinstance(value, str))
    return f"leave it out, or give {switch}={choices}" if choices else "leave it out"
