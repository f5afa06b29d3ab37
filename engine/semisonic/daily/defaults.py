"""What the trainings of a new project begin with: short runs on few labels, where the recipe of `folder` is one of
100,000 steps on many. They are written into project.yaml, where they can be changed."""

from collections.abc import Mapping
from typing import Any

SMALL, MIDDLE = 32, 64
"""Sides of images up to which a network of few layers, and one of 28, is enough."""
LEARNING_RATES = {"small": 0.1}
"""Of networks that take a larger one than others."""
USUAL_RATE = 0.03


def defaults(size: int) -> dict[str, Any]:
    """Fields of the trainings of a project whose images have this side, in sections.

    FixMatch with the paper's threshold and weight, 32 labeled and 96 unlabeled images a step. Small images are filled
    by what they show, so their weak crops show more of them.
    """
    network = "small" if size <= SMALL else "wrn-28-2" if size <= MIDDLE else "resnet18"
    return {
        "steps": 1000,
        "frozen": "off",  # day by day the weights are others, and the features of all images with them
        "model": {"name": network},
        "data": {"crop_area": 0.7 if size <= MIDDLE else 0.4},
        "batch": {"labeled": 32, "unlabeled_ratio": 3},
        "algorithm": {"name": "fixmatch", "threshold": 0.95, "weight": 1.0},
        "optim": {"name": "sgd", "lr": LEARNING_RATES.get(network, USUAL_RATE)},
        "ema": {"decay": 0.99, "start_up": "tf"},
        "eval": {"every": 1000},
        "checkpoint": {"every": 200},
        "log": {"trackers": []},
    }


def under(given: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The given fields, and of the defaults those that they leave open: another algorithm, optimizer or network than
    the default's comes with fields of its own."""
    made = defaults(size)
    for section in ("model", "algorithm", "optim"):
        name = given.get(section, {}).get("name")
        if name is not None and name != made[section]["name"]:
            made[section] = {}
    if "model" in given and "name" in given["model"]:
        made["optim"] = {**made["optim"], "lr": LEARNING_RATES.get(given["model"]["name"], USUAL_RATE)}
    if given.get("optim", {}).get("name", "sgd") != "sgd":
        made["optim"] = {}
    for section, value in given.items():
        made[section] = {**made.get(section, {}), **value} if isinstance(value, Mapping) else value
    return {section: value for section, value in made.items() if value != {}}
