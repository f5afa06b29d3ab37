"""Recipes: small functions that return what a run changes against the defaults of `RunConfig`.

A recipe belongs to a data set, and holds FixMatch's settings; the one named after the data set is the default of a run
on it. What another algorithm changes of it, for this data set and number of labels, is in `methods`. A docstring states
command, hardware, time and expected error.
"""

from collections.abc import Callable
from typing import Any

from semisonic.recipes import grey, natural
from semisonic.recipes.methods import METHODS, Setting

__all__ = ["METHODS", "RECIPES", "Recipe", "method_changes"]

Recipe = Callable[[], dict[str, Any]]

RECIPES: dict[str, Recipe] = {
    "digits": grey.digits,
    "mnist": grey.mnist,
    "fashion-mnist": grey.fashion_mnist,
    "cifar10": natural.cifar10,
    "cifar100": natural.cifar100,
    "svhn": natural.svhn,
    "stl10": natural.stl10,
    "folder": natural.folder,
    "folder-16000": natural.folder_16000,
}


def method_changes(
    name: str, base: dict[str, Any], algorithm: str, labels: int | None, steps: int, labelled: int | None
) -> dict[str, Any]:
    """What an algorithm changes of the recipe `name`, whose fields are `base`, with so many labels (None = all), steps,
    and labelled images of a step where the user says how many. Nothing for an algorithm that the recipe is written for.
    """
    if algorithm == base["algorithm"]["name"] or algorithm not in METHODS:
        return {"algorithm": {"name": algorithm}}
    changes = METHODS[algorithm](Setting(name, labels, steps, base["batch"]["labelled"], labelled))
    return {**changes, "algorithm": {"name": algorithm, **changes.get("algorithm", {})}}
