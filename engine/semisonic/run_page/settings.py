"""Which settings of a run are others than its recipe's."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from semisonic.config.command_line import Arguments, recipe_of
from semisonic.config.effects import effects
from semisonic.config.fields import RECORDED, dotted, shown
from semisonic.config.run_config import RunConfig
from semisonic.data.sets.base import DataConfig
from semisonic.recipes import RECIPES
from semisonic.schema import Effect
from semisonic.text import name_of

CHOSEN = ("data.name", "data.root", "data.csv", "data.test_root", "data.classes", "data.download", "algorithm.name",
          "seed", "baseline", "init")  # fmt: skip
"""What every run says for itself, and no recipe could."""
SETTLED = "auto"
"""A recipe's value that a run replaces by what it comes to."""


@dataclass(frozen=True)
class Setting:
    """A field of a run, as text."""

    name: str
    own: str
    recipe: str


@dataclass(frozen=True)
class Settings:
    recipe: str | None
    """The nearest one for the run's data set and algorithm; None where there is none for its data."""
    differing: list[Setting]


def settings_of(cfg: RunConfig) -> Settings:
    """The settings that change results and are others than in the recipe that differs least."""
    own = dotted(cfg.model_dump(mode="json"))
    marks = effects(cfg.algorithm.name)
    names = [
        name for name in own
        if name not in CHOSEN and name not in RECORDED and marks.get(name, Effect.RESULTS) is not Effect.FREE
    ]  # fmt: skip
    best: Settings | None = None
    for recipe, make in RECIPES.items():
        if make()["data"]["name"] != cfg.data.name:
            continue
        values = _fields(recipe, cfg)
        if values is None:
            continue
        found = [
            Setting(name, _text(own[name]), _text(values.get(name)))
            for name in names
            if own[name] != values.get(name) and values.get(name) != SETTLED
        ]
        if best is None or len(found) < len(best.differing):
            best = Settings(recipe, found)
    return best or Settings(None, [])


def _fields(recipe: str, cfg: RunConfig) -> dict[str, Any] | None:
    """The dotted fields of a recipe for the run's algorithm, labels and length; None where it cannot be had."""
    fields: dict[str, Any] = {"data": cfg.data.name, "algorithm": cfg.algorithm.name, "steps": cfg.steps}
    if cfg.data.labels is not None:
        fields["data.labels"] = cfg.data.labels
    base, (_, nested) = RECIPES[recipe](), recipe_of(Arguments(fields=fields, recipe=recipe))
    named = {"data": {"name": cfg.data.name}, "algorithm": {"name": cfg.algorithm.name}}
    try:
        whole = RunConfig.model_validate(nested | {name: nested.get(name, {}) | own for name, own in named.items()})
    except ValidationError:  # a plug-in's recipe need not fit this algorithm
        return None
    # What a method changes depends on these two, so they were the run's own; the recipe has its own.
    own = {"steps": base["steps"], "data.labels": DataConfig.model_validate(base["data"]).labels}
    return dotted(whole.model_dump(mode="json")) | own


def _text(value: Any) -> str:
    return name_of(shown(value)) or "none"
