"""The reference of a file's entries, from the class that says what it may hold."""

import ast
import importlib
import inspect
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from _extension.docstrings import cell
from _extension.fields_page import number

WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null", Any: "anything"}
MOST = 100
"""Limits above it keep damaged files out, and tell people nothing."""


def records(name: str) -> str:
    """Markdown of a table: every entry of a file, what may stand there, and what it is.

    name: of the class below `semisonic`, such as records.entries.Summary. Entries of an entry follow it, as `a.b`; of
    each item of a list as `a[].b`, of each value of an object as `a.*.b`.
    """
    rows = [f"| `{entry}` | {value} | {text} |" for entry, value, text in _rows(model_of(name), "", {})]
    return "\n".join(["| entry | value | what it is |", "| --- | --- | --- |", *rows])


def model_of(name: str) -> type[BaseModel]:
    """The class of that name below `semisonic`."""
    module, _, own = name.rpartition(".")
    found: type[BaseModel] = getattr(importlib.import_module(f"semisonic.{module}"), own)
    return found


def _rows(model: type[BaseModel], prefix: str, shown: dict[type[BaseModel], str]) -> Iterator[tuple[str, str, str]]:
    """shown: classes whose entries are in the table already, each with the entry that they are of."""
    shown[model] = prefix.rstrip(".")
    texts = documented(model)
    for field, info in model.model_fields.items():
        entry, inside = prefix + (info.alias or field), [*_models(info.annotation)]
        value = _limited(_words(info.annotation), info.metadata)
        if not info.is_required() and "null" not in value:
            value += " or missing"
        said = [texts.get(field) or next((inner.__doc__ or "" for inner, _ in inside), "")]
        said += [f"Entries as of `{shown[inner]}`." for inner, _ in inside if shown.get(inner)]
        yield entry, value, cell(" ".join(said))
        for inner, step in inside:
            if inner not in shown:
                yield from _rows(inner, f"{entry}{step}.", shown)


def documented(model: type[BaseModel]) -> dict[str, str]:
    """The string below each entry of a class that has one."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for one, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(below, ast.Expr):
            texts[one.target.id] = ast.literal_eval(below.value)
    return texts


def _models(annotation: Any, step: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """The classes of entries inside a type, and how their names go on: nothing, [] of a list, .* of an object."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, step
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is not Literal:
        for part in parts[:1] if origin is Annotated else parts:
            yield from _models(part, step + {list: "[]", dict: ".*"}.get(origin, ""))


def _words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in WORDS:
        return WORDS[annotation]
    if origin is Annotated:
        return _limited(_words(parts[0]), [mark for info in parts[1:] for mark in getattr(info, "metadata", ())])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin is list:
        return f"list: {_words(parts[0])}"
    if origin is dict:
        return f"object: {_words(parts[1])}"
    return "object"


def _limited(words: str, marks: Iterable[Any]) -> str:
    """Words with the range of a number, or the length of a list."""
    limits = {name: value for mark in marks for name, value in _limits(mark)}
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if words.startswith("list: ") and limits.get("min_length") == limits.get("max_length") is not None:
        return words.replace("list:", f"list of {limits['max_length']}:", 1)
    if low is not None and high is not None and high <= MOST and "number" in words:
        return f"{words} ({number(low)} to {number(high)})"
    return words


def _limits(mark: Any) -> Iterator[tuple[str, Any]]:
    for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
        if isinstance(value := getattr(mark, name, None), int | float):
            yield name, value
