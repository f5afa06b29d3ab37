"""The reference of all fields of a run, from their declarations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen

from _extension.docstrings import inline
from _extension.readers import readers

WHERE = {"": "The run itself", "addons": "Add-ons"}
"""Headings of sections that have another than their name."""
GOES_ON = {
    "results": "When a run goes on, it must stay as it was.",
    "free": "When a run goes on, it may be another.",
    "content": "When a run goes on, it may be another path to the same content.",
}


def configuration(engine: Path) -> str:
    """Markdown of all fields but the algorithm's, a heading for each section. engine: the folder of its source."""
    from semisonic.algorithms.registry import DEFAULT
    from semisonic.config.effects import effects
    from semisonic.config.fields import RECORDED, describe_fields, walk_fields
    from semisonic.config.run_config import RunConfig

    described = {name: row for name, *row in describe_fields(DEFAULT) if not name.startswith("algorithm.")}
    infos = {name: info for name, info, _ in walk_fields(RunConfig, DEFAULT) if name not in RECORDED}
    owners = {name: owner for name, owner in _owners(RunConfig, DEFAULT) if name in described}
    read = readers(engine, owners)
    effect = effects(DEFAULT)
    lines: list[str] = []
    section = None
    for name, (kind, default, text) in described.items():
        if (here := name.rpartition(".")[0]) != section:
            section = here
            lines += [f"## {WHERE.get(here, here)}", ""]
        facts = [f"`{kind}`", f"default `{default}`" if default else "default: none"]
        facts += [limits] if (limits := constraint(infos[name])) else []
        lines += [f":::{{field}} {name}", f"{', '.join(facts)}.", "", inline(text), "", GOES_ON[effect[name].value]]
        if read[name]:
            lines += ["", "{.files}", f"Read in {', '.join(f'`{file}`' for file in read[name])}."]
        lines += [":::", ""]
    return "\n".join(lines)


def constraint(info: Any) -> str:
    """What values a field may have beyond its type: "at least 1, below 100"."""
    words = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}
    found = [
        f"{text} {number(getattr(mark, key))}"
        for mark in (*info.metadata, *_inner(info.annotation))
        for kind, (text, key) in words.items()
        if isinstance(mark, kind)
    ]
    found += ["not empty" for mark in info.metadata if isinstance(mark, MinLen) and mark.min_length == 1]
    return ", ".join(dict.fromkeys(found))


def _inner(annotation: Any) -> Iterator[Any]:
    """Limits of the parts of a type, such as those of a tuple."""
    for part in get_args(annotation) if get_origin(annotation) is not Annotated else ():
        if get_origin(part) is Annotated:
            yield from (mark for info in get_args(part)[1:] for mark in getattr(info, "metadata", ()))


def number(value: Any) -> str:
    """A limit as people write it; powers of two and of ten where they are shorter."""
    if isinstance(value, int) and value >= 2**16 and value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return f"{value:,}" if abs(value) < 1e7 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")


def _owners(model: Any, algorithm: str, section: str = "") -> Iterator[tuple[str, str]]:
    """(dotted field, file of the class that declares it, from the engine's folder)."""
    from semisonic.config.sections import section_model
    from semisonic.schema import Config

    for name in model.model_fields:
        inner = section_model(model, name, algorithm)
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from _owners(inner, algorithm, f"{section}{name}.")
        else:
            yield section + name, f"{model.__module__.removeprefix('semisonic.').replace('.', '/')}.py"
