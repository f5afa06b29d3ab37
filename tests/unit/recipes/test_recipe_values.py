"""Every value that decides about a run, in one table: a changed weight, ramp, threshold or rate is a changed line there.

recipe_values.json has four parts, each of which says what differs from the one before:

    run         fields of `RunConfig()` but for the algorithm's
    algorithms  name -> all fields of its `Config()`
    recipes     name -> fields of the run that it resolves to
    changes     recipe -> algorithm -> fields of the run that has this algorithm on that recipe

`python -m tests.unit.recipes.test_recipe_values NAME ...` writes the entries of these algorithms and recipes anew, and with no
name all of them and `run`; the difference to the file before shows what has changed.
"""

import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.data.sets import registry as sources
from semisonic.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("no_files")

FILE = Path(__file__).with_name("recipe_values.json")
LABELS: dict[str, tuple[str, ...]] = {
    "digits": ("100",),
    "mnist": ("250",),
    "fashion-mnist": ("250",),
    "cifar10": ("250", "4000"),
    "cifar100": ("2500", "10000"),
    "svhn": ("250", "1000"),
    "stl10": ("1000",),
    "folder": ("100",),
    "folder-16000": ("4000",),
    "folder-small": (),
    "folder-small-vit": (),
    "folder-vit": ("100",),
    "folder-large": (),
    "usb-cifar100": ("400",),
    "usb-stl10": ("100",),
    "usb-eurosat": ("40",),
    "usb-tissuemnist": ("400",),
    "usb-semi-aves": (),
    "dtd": (),
    "sun397": (),
    "resisc45": (),
    "clevr-count": (),
}
"""Numbers of labels beside the recipe's own and all."""
Values = dict[str, Any]


def flat(fields: Values, prefix: str = "") -> Values:
    """Nested sections as dotted fields."""
    found: Values = {}
    for name, value in fields.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def resolved(recipe: str, *fields: str) -> Values:
    return values(resolve(["--recipe", recipe, "--device", "cpu", *fields])[1])


def values(cfg: RunConfig) -> Values:
    """All fields but the device, which tests set, and the peak learning rate."""
    return flat(cfg.model_dump(mode="json", exclude={"device"})) | {"optim.peak": cfg.optim.peak}


def run_entry() -> Values:
    return {name: value for name, value in values(RunConfig()).items() if not of_the_algorithm(name)}


def defaults(algorithm: str) -> Values:
    return ALGORITHMS[algorithm].Config().model_dump(mode="json")


def of_the_algorithm(name: str) -> bool:
    return name.startswith("algorithm.")


@cache
def recipe_entry(recipe: str) -> Values:
    """What the recipe has in place of the run's defaults."""
    usual = run_entry()
    return {n: value for n, value in resolved(recipe).items() if not of_the_algorithm(n) and value != usual[n]}


def changes(recipe: str, algorithm: str, *fields: str) -> Values:
    """What the run of an algorithm has in place of the recipe's own fields and of its own defaults."""
    usual = run_entry() | recipe_entry(recipe) | flat({"algorithm": defaults(algorithm)})
    found = resolved(recipe, "--algorithm", algorithm, *fields)
    assert found.keys() == usual.keys()
    return {name: value for name, value in found.items() if value != usual[name]}


def stored() -> dict[str, Values]:
    return json.loads(FILE.read_text())


def test_the_table_is_complete():
    table = stored()
    assert table["algorithms"].keys() == ALGORITHMS.keys()
    assert table["recipes"].keys() == table["changes"].keys() == RECIPES.keys() == LABELS.keys()
    assert all(entry.keys() == ALGORITHMS.keys() for entry in table["changes"].values())


def test_defaults_of_a_run():
    assert run_entry() == stored()["run"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_defaults_of_an_algorithm(algorithm: str):
    assert defaults(algorithm) == stored()["algorithms"][algorithm]


@pytest.mark.parametrize("recipe", RECIPES)
def test_values_of_a_recipe(recipe: str):
    assert recipe_entry(recipe) == stored()["recipes"][recipe]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_algorithms_change_of_a_recipe(recipe: str):
    table = stored()["changes"][recipe]
    for algorithm in ALGORITHMS:
        assert changes(recipe, algorithm) == table[algorithm], algorithm


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_number_of_labels_changes_nothing_else(recipe: str):
    """No paper has settings by number of labels; one that had would need entries of its own."""
    table = stored()["changes"][recipe]
    for labels in (*LABELS[recipe], "null"):
        wanted = None if labels == "null" else int(labels)
        own = (
            {}
            if wanted == RECIPES[recipe]()["data"].get("labels", RunConfig().data.labels)
            else {"data.labels": wanted}
        )
        for algorithm in ALGORITHMS:
            assert changes(recipe, algorithm, "--data.labels", labels) == table[algorithm] | own, (algorithm, labels)


def write(names: list[str]) -> None:
    """Makes entries anew and leaves the others as they are. Raises KeyError for a name that there is not."""
    if unknown := [name for name in names if name not in (*ALGORITHMS, *RECIPES)]:
        raise KeyError(f"{unknown}: neither algorithms nor recipes")
    table = (
        stored() if names and FILE.exists() else {"algorithms": {}, "recipes": {}, "changes": {}, "run": run_entry()}
    )
    wanted = names or [*ALGORITHMS, *RECIPES]
    table["algorithms"] |= {name: defaults(name) for name in ALGORITHMS if name in wanted}
    table["recipes"] |= {name: recipe_entry(name) for name in RECIPES if name in wanted}
    for recipe in RECIPES:
        new = {name: changes(recipe, name) for name in ALGORITHMS if {name, recipe} & set(wanted)}
        table["changes"][recipe] = table["changes"].get(recipe, {}) | new
    FILE.write_text(text(table))


def text(table: Values) -> str:
    """JSON with one field a line."""
    lists = re.compile(r"\[\s+([^][{}]*?)\s+\]")
    lines = json.dumps(table, indent=1, sort_keys=True)
    return lists.sub(lambda found: f"[{' '.join(found[1].split())}]", lines) + "\n"


if __name__ == "__main__":
    sources.data_problems = lambda cfg: []  # type: ignore[assignment]
    write(sys.argv[1:])
