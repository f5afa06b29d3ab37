"""Every field of a run by its dotted name: its type, default and documentation."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from semisonic.algorithms.registry import ALGORITHMS, DEFAULT
from semisonic.config.run_config import RunConfig
from semisonic.config.sections import section_model
from semisonic.data.sets.base import ExpectedConfig
from semisonic.schema import Config


def algorithm_name(fields: dict[str, Any]) -> str:
    """The algorithm that fields name, nested or dotted; fixmatch where they name none."""
    section = fields.get("algorithm", fields.get("algorithm.name"))
    name = section.get("name") if isinstance(section, dict) else section
    return name if isinstance(name, str) and name in ALGORITHMS else DEFAULT


def walk_fields(model: type[Config], algorithm: str) -> Iterator[tuple[str, FieldInfo, Any]]:
    """(dotted name, field, type) of every field of a configuration and its sections, with the fields of one algorithm
    where it has a section of that name. `field.description` is the string below it in the source."""
    document(model)
    for name, info in model.model_fields.items():
        inner = section_model(model, name, algorithm)
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from ((f"{name}.{below}", *rest) for below, *rest in walk_fields(inner, algorithm))
        else:
            yield name, info, inner


@cache
def document(model: type[Config]) -> None:
    """Gives the fields of a configuration class their descriptions."""
    texts: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, Config) and kind is not Config:
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)  # a notebook has none
            texts |= _field_texts(file).get(kind.__qualname__, {})
    for name, info in model.model_fields.items():
        info.description = info.description or texts.get(name)


@cache
def _field_texts(file: str | None) -> dict[str, dict[str, str]]:
    """The strings below the annotated names of every class at the top of a source file: class -> name -> string."""
    if file is None:
        return {}
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    found: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {}
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    string = text.value.value if isinstance(text.value, ast.Constant) else ""
                    found[node.name][ast.unparse(field.target)] = inspect.cleandoc(str(string))
    return found


RECORDED = {
    "plugins": "a plug-in is named with --plugin FILE",
    "data.fingerprint": "a run records it of images that are given in Python; nobody gives it",
    "model.fingerprint": "a run records it of a network that is given in Python; nobody gives it",
    **dict.fromkeys(
        (f"data.expected.{field}" for field in ExpectedConfig.model_fields),
        "a run records what its weights expect; to show images otherwise, use data.normalize",
    ),
}
"""Fields that a run records and nobody gives, and what to say who does."""


def describe_fields(algorithm: str = DEFAULT) -> list[tuple[str, str, str, str]]:
    """(dotted name, type, default, documentation) of every field that can be given."""
    rows = []
    for name, info, annotation in walk_fields(RunConfig, algorithm):
        if name in RECORDED:
            continue
        rows.append((name, type_name(annotation), shown(info.default), " ".join((info.description or "").split())))
    return rows


def shown(value: Any) -> str:
    """A field's value as the command line has it; "" for none."""
    return "" if value is None else ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def dotted(fields: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    result: dict[str, Any] = {}
    for name, value in fields.items():
        result |= dotted(value, f"{section}{name}.") if isinstance(value, Mapping) else {section + name: value}
    return result


def type_name(annotation: Any) -> str:
    """A type as --help has it."""
    if annotation is type(None):
        return "none"
    if get_origin(annotation) is Annotated:
        return type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return ",".join(type_name(part) for part in get_args(annotation) if part is not ...)
    if args := get_args(annotation):
        return "|".join(dict.fromkeys(type_name(part) for part in args if part is not type(None)))
    return getattr(annotation, "__name__", str(annotation)).lower()
