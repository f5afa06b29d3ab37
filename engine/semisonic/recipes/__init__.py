"""Recipes: small functions that return what a run changes against the defaults of `RunConfig`.

The recipe named after the data set is the default of a run on it. A docstring states command, hardware, time and
expected error.
"""

from collections.abc import Callable
from typing import Any

from semisonic.recipes import grey, natural

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
}
