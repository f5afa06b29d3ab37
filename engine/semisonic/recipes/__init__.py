"""Recipes: small functions that return what a run changes against the defaults of `RunConfig`, one module a data set.

A recipe belongs to a data set, and holds FixMatch's settings; the one named after the data set is the default of a run
on it. What another algorithm changes of it, for this data set and number of labels, is in the algorithm's own file
(`Algorithm.paper_settings`). A docstring states command, hardware, time and expected error.
"""

from collections.abc import Callable
from typing import Any

from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.settings import Setting
from semisonic.recipes import (
    cifar10,
    cifar100,
    clevr_count,
    digits,
    dtd,
    fashion_mnist,
    folder,
    mnist,
    resisc45,
    stl10,
    sun397,
    svhn,
    usb_cifar100,
    usb_eurosat,
    usb_semi_aves,
    usb_stl10,
    usb_tissuemnist,
)
from semisonic.registry import Registry

__all__ = ["RECIPES", "Recipe", "method_changes", "register_recipe"]

Recipe = Callable[[], dict[str, Any]]

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    {
        "digits": digits.digits,
        "mnist": mnist.mnist,
        "fashion-mnist": fashion_mnist.fashion_mnist,
        "cifar10": cifar10.cifar10,
        "cifar100": cifar100.cifar100,
        "svhn": svhn.svhn,
        "stl10": stl10.stl10,
        "folder": folder.folder,
        "folder-16000": folder.folder_16000,
        "folder-small": folder.folder_small,
        "folder-small-vit": folder.folder_small_vit,
        "folder-vit": folder.folder_vit,
        "folder-large": folder.folder_large,
        "usb-cifar100": usb_cifar100.usb_cifar100,
        "usb-stl10": usb_stl10.usb_stl10,
        "usb-eurosat": usb_eurosat.usb_eurosat,
        "usb-tissuemnist": usb_tissuemnist.usb_tissuemnist,
        "usb-semi-aves": usb_semi_aves.usb_semi_aves,
        "dtd": dtd.dtd,
        "sun397": sun397.sun397,
        "resisc45": resisc45.resisc45,
        "clevr-count": clevr_count.clevr_count,
    },
)
NEEDED = ("steps", "data.name", "algorithm.name", "batch.labeled")
"""What a recipe must say, since what an algorithm changes of it depends on them."""


def register_recipe(name: str, recipe: Recipe) -> None:
    """Adds a recipe; the first line of its docstring is shown by --list.

    Raises ValueError for a name that is taken or cannot be one, and for a recipe that leaves out what it must say.
    """
    content = recipe()

    def has(field: str) -> bool:
        section, _, leaf = field.rpartition(".")
        return leaf in (content.get(section, {}) if section else content)

    if missing := [field for field in NEEDED if not has(field)]:
        raise ValueError(f"recipe {name!r}: it must say {' and '.join(missing)}")
    RECIPES.register(name, recipe)


def method_changes(
    name: str, base: dict[str, Any], algorithm: str, labels: int | None, steps: int, labeled_batch: int | None
) -> dict[str, Any]:
    """What an algorithm changes of the recipe `name`, whose fields are `base`, with so many labels (None = all), steps,
    and labeled images of a step where the user says how many. Nothing for an algorithm that the recipe is written for.
    """
    if algorithm == base["algorithm"]["name"] or algorithm not in ALGORITHMS:
        return {"algorithm": {"name": algorithm}}
    setting = Setting(name, labels, steps, base["batch"]["labeled"], labeled_batch)
    changes = ALGORITHMS[algorithm].paper_settings(setting)
    return {**changes, "algorithm": {"name": algorithm, **changes.get("algorithm", {})}}
