"""Fields into a configuration: what is wrong with each of them, in the user's words."""

from typing import Any, get_origin

from pydantic import ValidationError

from semisonic.algorithms.registry import ALGORITHMS, DEFAULT
from semisonic.config.fields import algorithm_name
from semisonic.config.hints import of_a_value, unknown_fields, unknown_name
from semisonic.config.run_config import RunConfig
from semisonic.config.sections import section_model
from semisonic.schema import Config
from semisonic.text import printable

LONGEST = 40
"""Characters of a value that a message repeats, and of a number that anybody means."""


def _model(section: str, fields: dict[str, Any]) -> type[Config] | None:
    """What a section's fields are, or None where there is no such section."""
    kind = section_model(RunConfig, section, algorithm_name(fields)) if section in RunConfig.model_fields else None
    return kind if isinstance(kind, type) and issubclass(kind, Config) else None


def validated(fields: dict[str, Any], typed: dict[str, str] | None = None) -> tuple[RunConfig, list[str]]:
    """The configuration, and one line per wrong field; wrong fields are then at their defaults.

    typed: dotted fields as they were typed.
    """
    fields = dict(fields)
    if isinstance(fields.get("algorithm"), dict):
        fields["algorithm"] = {"name": DEFAULT, **fields["algorithm"]}
    for section, inner in fields.items():
        own = _model(section, fields) if isinstance(inner, dict) else None
        if own:
            fields[section] = _with_tuples(inner, own)
    problems: list[str] = []
    while True:
        try:
            return RunConfig.model_validate(fields), problems
        except ValidationError as error:
            for item in error.errors():
                path = [str(part) for part in item["loc"]]
                if item["type"] == "extra_forbidden":
                    lines = unknown_fields(path, fields, algorithm_name(fields), typed or {})
                else:
                    lines = [_describe(path, item)]
                problems += [line for line in lines if line not in problems]
                fields = _without(fields, path)


def _with_tuples(fields: dict[str, Any], model: type[Config]) -> dict[str, Any]:
    """The fields of a section, and of sections inside it, where a tuple may be given as text: `1,2`."""
    found = dict(fields)
    for name, info in model.model_fields.items():
        value, kind = fields.get(name), info.annotation
        if get_origin(kind) is tuple and isinstance(value, str):
            found[name] = [part for part in value.split(",") if part and part != "none"]
        elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Config):
            found[name] = _with_tuples(value, kind)
    return found


EXPECTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "finite_number": "a finite number",
    "model_": "a section of fields",
}


def _describe(path: list[str], item: Any) -> str:
    name = ".".join(path)
    if item["type"] == "unknown_algorithm":
        return unknown_name(f"{name}.name", item["ctx"]["tag"], ALGORITHMS)
    few = item["type"] == "missing" and path[-1].isdigit()
    if few or item["type"] == "too_long":
        values = printable(",".join(map(str, item["input"])), 2 * LONGEST)
        return f"{'.'.join(path[:-1]) if few else name}: {values} are too {'few' if few else 'many'} values"
    message = item["msg"].removeprefix("Input should be ").removeprefix("a ").removeprefix("Value error, ")
    expected = next((text for start, text in EXPECTED.items() if item["type"].startswith(start)), message)
    given = repr(item["input"])
    given = given if len(given) <= LONGEST else f"{given[:LONGEST]}..."
    return f"{name}: {given} is not valid; expected {expected}{of_a_value(name, item)}"


def _without(fields: dict[str, Any], path: list[str]) -> dict[str, Any]:
    head, *tail = path
    inner = fields.get(head)
    if tail and isinstance(inner, dict) and tail[0] in inner:
        return {**fields, head: _without(inner, tail)}
    return {key: value for key, value in fields.items() if key != head}
