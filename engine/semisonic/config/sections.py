"""Sections of a run's configuration whose fields depend on what is registered: the algorithm's, and the add-ons'."""

from functools import cache
from typing import Any

from pydantic import create_model
from pydantic_core import PydanticCustomError

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS, DEFAULT
from semisonic.schema import Config


def algorithm_section(value: Any) -> Config:
    """The configuration of the algorithm that a section names."""
    if isinstance(value, Config):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "a section of fields")
    name = value.get("name", DEFAULT)
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise PydanticCustomError("unknown_algorithm", "an algorithm", {"tag": name})
    return ALGORITHMS[name].Config.model_validate(value)


def addon_sections(value: Any) -> Config:
    """The configurations of all add-ons, those that are not given at their defaults."""
    if isinstance(value, addons_model()):
        return value
    return addons_model().model_validate(dict(value) if isinstance(value, Config) else value)


class AddOnSections(Config):
    """Base of what the section `addons` looks like, which is made anew for what is registered."""

    def __reduce__(self) -> tuple[Any, ...]:
        return addon_sections, (dict(self),)


def addons_model() -> type[Config]:
    """What the section `addons` looks like: a section for each add-on that is registered."""
    return _addons_model(tuple(ADD_ONS.items()))


@cache
def _addons_model(addons: tuple[tuple[str, Any], ...]) -> type[Config]:
    fields: dict[str, Any] = {name: (kind.Config, kind.Config()) for name, kind in addons}
    return create_model("AddOnsConfig", __base__=AddOnSections, **fields)


def section_model(model: type[Config], name: str, algorithm: str) -> Any:
    """The type of a field: a section's configuration class, with the fields of one algorithm, or any other type."""
    if name == "algorithm":
        return ALGORITHMS[algorithm].Config
    return addons_model() if name == "addons" else model.model_fields[name].annotation
