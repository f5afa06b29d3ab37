"""An algorithm and the add-ons of a run: what they need together, and whether they fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.add_on import AddOn, Base, changes
from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.label_weights import LabelWeights
from semisonic.contract import Info, Views
from semisonic.models.ema import EmaConfig


@dataclass(frozen=True)
class Joined:
    """An add-on of a run."""

    name: str
    kind: type[AddOn]
    cfg: Any
    base: Base


@dataclass(frozen=True)
class Composition:
    """What is trained: one algorithm, and its add-ons in order."""

    kind: type[Algorithm]
    cfg: Any
    addons: tuple[Joined, ...]
    views: Views
    """All views, draws and streams; of an add-on that is refused none."""
    refused: tuple[str, ...] = ()
    """What speaks against single add-ons beside this algorithm, a line each naming its field."""
    notes: tuple[str, ...] = ()
    """What add-ons have to tell, a line each."""

    def couplings(self) -> list[str]:
        """What keeps a batch from being cut into micro-batches, by the names of what it belongs to."""
        found = [] if self.kind.takes_micro_batches(self.cfg) else [str(self.cfg.name)]
        return found + [
            f"addons.{addon.name}" for addon in self.addons if not addon.kind.takes_micro_batches(addon.cfg)
        ]

    def bound_to_a_size(self) -> list[str]:
        """What keeps the unlabeled batch from growing, by the names of what it belongs to."""
        found = [] if self.kind.takes_growing_batches(self.cfg) else [str(self.cfg.name)]
        return found + [
            f"addons.{addon.name}" for addon in self.addons if not addon.kind.takes_growing_batches(addon.cfg)
        ]

    def problems(self) -> list[str]:
        """What speaks against these add-ons, one line each naming its field."""
        problems = list(self.refused)
        for what, found in {
            "heads to use in place of the main one": [addon for addon in self.addons if addon.kind.own_head],
            "tables that views are drawn by": [addon for addon in self.addons if addon.kind.tables is not AddOn.tables],
        }.items():
            if len(found) > 1:
                names = " and ".join(addon.name for addon in found)
                problems.append(f"addons.{found[1].name}: {names} both have {what}; use one of them")
        return problems

    def stream_problems(self, labeled: int, share: int) -> list[str]:
        """Own streams whose samples do not divide into `share` parts (ranks x micro-batches)."""
        sizes = {name: stream.size(labeled) for name, stream in self.views.streams.items()}
        return [
            f"batch.labeled: {size} samples of the stream {name} do not divide into {share} parts"
            for name, size in sizes.items()
            if size < 1 or size % share
        ]

    def lag_problems(self, ahead: int) -> list[str]:
        """Tables that views draw by before they are there; `ahead`: steps that drawing may be ahead."""
        return [
            f"addons.{addon.name}.lag: batches are drawn up to {ahead} steps ahead of the step, so the rates must be "
            f"as old; take at least {ahead}, or fewer data.steps_per_call"
            for addon in self.addons
            if addon.kind.tables is not AddOn.tables and addon.cfg.lag < ahead
        ]

    def build(
        self,
        network: Callable[[], nn.Module],
        info: Info,
        ema: EmaConfig,
        autocast: torch.dtype | None,
        weights: LabelWeights | None = None,
    ) -> Algorithm:
        """The algorithm with its add-ons, its networks' weights drawn from torch's generator."""
        addons = {addon.name: addon.kind(addon.cfg, addon.base) for addon in self.addons}
        return self.kind(self.cfg, network, info, ema, autocast, addons, weights)


def compose(kind: type[Algorithm], cfg: Any, sections: Mapping[str, Any]) -> Composition:
    """The algorithm with the add-ons that their sections (name -> configuration) ask for."""
    joined: list[Joined] = []
    refused: list[str] = []
    notes: list[str] = []
    views = kind.views(cfg)
    # Views of any add-on may draw by another's tables, so that one comes last.
    for name, addon in sorted(ADD_ONS.items(), key=lambda entry: entry[1].tables is not AddOn.tables):
        own, base = sections[name], Base(kind, cfg, views)
        if note := addon.note(own, base):
            notes.append(note)
        if not addon.active(own, base):
            continue
        joined.append(Joined(name, addon, own, base))
        problems = addon.problems(own, base) or refusals(name, addon, base)
        if not problems:
            try:
                views = views.joined(addon.views(own, base))
            except ValueError as error:
                problems = [f"addons.{name}: {error}"]
        refused += problems
    if strange := sorted(set(views.params) - views.labeled.keys() - views.unlabeled.keys()):
        refused.append(
            f"addons: the parameters of {', '.join(strange)} are asked for, no view of the run's two streams"
        )
    return Composition(kind, cfg, tuple(joined), views, tuple(refused), tuple(notes))


def refusals(name: str, addon: type[AddOn], base: Base) -> list[str]:
    """What an add-on needs that the algorithm does not have, one line each."""
    if base.kind.roles != ("network",):
        return [f"addons.{name}: {base.name} has several networks, which take no add-ons"]
    problems = []
    if missing := [view for view in addon.reads if view not in base.kind.sees(base.cfg)]:
        problems.append(f"addons.{name}: {base.name} as configured has no {' and no '.join(missing)} view to read")
    if closed := [what for what in changes(addon) if what not in base.kind.open_to]:
        problems.append(f"addons.{name}: {base.name} lets nothing change its {', '.join(closed).replace('_', ' ')}")
    return problems
