"""Configurations from recipes, and of algorithms on data sets."""

from typing import Any

from semisonic.config.command_line import resolve


def config(recipe: str, *fields: str) -> Any:
    return resolve(["--recipe", recipe, "--device", "cpu", "--log.trackers", "none", *fields])[1]


def chosen(data: str, algorithm: str, *fields: str) -> Any:
    return resolve(["--data", data, "--algorithm", algorithm, "--device", "cpu", *fields])[1]
