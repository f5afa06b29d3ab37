"""Algorithms with add-ons on the tiny network."""

from typing import Any

import torch

from semisonic.addons.composition import Composition, compose
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.base import Algorithm
from semisonic.config.sections import addons_model
from semisonic.models.ema import EmaConfig
from tests.support.algorithms import info, tiny_network


def composition(kind: type[Algorithm], fields: dict[str, Any] | None = None, **addons: dict[str, Any]) -> Composition:
    """The algorithm and its add-ons, by the fields of their sections; the margins are recorded where they say so."""
    own = kind.Config(**({"block": 2} if "block" in kind.Config.model_fields else {}), **(fields or {}))
    sections = addons_model()(**({"aum": {"record": "off"}} | addons))
    return compose(kind, own, dict(sections))


def composed(kind: type[Algorithm], fields: dict[str, Any] | None = None, **addons: dict[str, Any]) -> Algorithm:
    """The same, built in float64 with the first random weights; raises AssertionError where it is refused."""
    torch.manual_seed(0)
    made = composition(kind, fields, **addons)
    assert made.problems() == [], made.problems()
    return made.build(tiny_network, info(), EmaConfig(decay=0.9), None).double()


class registered:
    """Inside `with registered(name=AddOnClass)`, there are further add-ons."""

    def __init__(self, **addons: type):
        self.addons = addons

    def __enter__(self) -> None:
        for name, kind in self.addons.items():
            ADD_ONS.register(name, kind)

    def __exit__(self, *_: object) -> None:
        for name in self.addons:
            del ADD_ONS._entries[name]
