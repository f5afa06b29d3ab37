"""The reference of all algorithms: what a step does, what is remembered and gathered, equations and fields."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from _extension.docstrings import cell, markdown
from _extension.fields_page import constraint
from _extension.steps import Step, observe

NONE = "–"
SHARED = "Weak and strong views"
"""Heading of the fields that many algorithms share."""


def algorithm_steps() -> str:
    """Markdown: a table of the steps of all algorithms, and one of their state."""
    from semisonic.algorithms.registry import ALGORITHMS

    steps = {name: observe(name) for name in ALGORITHMS}
    return "\n".join(["## Steps", "", *_steps(steps), "", "## State", "", *_state(steps)])


def algorithm_sections() -> str:
    """Markdown: a section for each algorithm, with its equations, settings and fields."""
    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.algorithms.weak_strong import WeakStrongConfig

    shared = list(_fields(WeakStrongConfig, (name for name in WeakStrongConfig.model_fields if name != "name")))
    lines = [f"## {SHARED}", "", "Methods that guess labels from a weak view and train a strong one on them have:", ""]
    return "\n".join([*lines, *shared, "", *(line for name in ALGORITHMS for line in _section(name))])


def _steps(steps: Mapping[str, Step]) -> Iterator[str]:
    yield "| algorithm | images of a step | forward | with gradient | views of a labeled image | of an unlabeled one |"
    yield "| --- | ---: | ---: | ---: | --- | --- |"
    for name, step in steps.items():
        views = [", ".join(f"`{spec}`" for spec in own.values()) or NONE for own in step.views.values()]
        cells = (f"[`{name}`](#{name})", _images(step), f"{step.forward:,}", f"{step.backward:,}", *views)
        yield f"| {' | '.join(cells)} |"


def _images(step: Step) -> str:
    return f"{step.labeled:,} + {step.unlabeled:,}" if step.unlabeled else f"{step.labeled:,}"


def _state(steps: Mapping[str, Step]) -> Iterator[str]:
    yield "| algorithm | remembers | has modules | gathers over the ranks | asks them in the loss for |"
    yield "| --- | --- | --- | --- | --- |"
    for name, step in steps.items():
        if step.state or step.modules or step.gathered or step.exchanged:
            cells = (_named(step.state), _codes(step.modules), _named(step.gathered), _codes(step.exchanged))
            yield f"| [`{name}`](#{name}) | {' | '.join(cells)} |"


def _named(shapes: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {cell(shape)}" for name, shape in shapes.items()) or NONE


def _codes(names: tuple[str, ...]) -> str:
    return ", ".join(cell(name) for name in names) or NONE


def _section(name: str) -> Iterator[str]:
    """Title, equations, settings and fields of an algorithm."""
    from semisonic.algorithms.registry import ALGORITHMS
    from semisonic.algorithms.weak_strong import WeakStrongConfig
    from semisonic.config.fields import document

    kind = ALGORITHMS[name]
    module = inspect.getmodule(kind)
    assert module is not None
    yield from (f"## {name}", "", markdown(inspect.getdoc(module) or ""), "")
    yield from ("### Settings", "", markdown(inspect.getdoc(kind.paper_settings) or "").replace("+-", "±"), "")
    document(kind.Config)
    fields = kind.Config.model_fields.items()
    common = WeakStrongConfig.model_fields
    shared = [field for field, info in fields if field in common and _same(info, common[field])]
    own = [field for field, _ in fields if field != "name" and field not in shared]
    if own:
        yield from ("### Fields", "", *_fields(kind.Config, own))
    if shared:
        anchor = SHARED.lower().replace(" ", "-")
        yield from ("", f"Also {', '.join(f'`{field}`' for field in shared)}: see [{SHARED}](#{anchor}).")
    yield from ("", f"Source: `{module.__name__.replace('.', '/')}.py`.", "")


def _same(one: Any, other: Any) -> bool:
    return bool(one.default == other.default and one.description == other.description)


def _fields(config: Any, names: Iterable[str]) -> Iterator[str]:
    """Fields of the section `algorithm`, each a term and its definition."""
    from semisonic.config.fields import document, shown, type_name

    document(config)
    for name in names:
        info = config.model_fields[name]
        default = shown(info.default)
        facts = [f"`{type_name(info.annotation)}`", f"default `{default}`" if default else "default: none"]
        facts += [limits] if (limits := constraint(info)) else []
        yield from (f"`algorithm.{name}`", f": {', '.join(facts)}. {cell(info.description or '')}", "")
