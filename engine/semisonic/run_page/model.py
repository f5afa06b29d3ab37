"""What the page of a run says, before it is drawn."""

from dataclasses import dataclass, field
from typing import Any

from semisonic.algorithms.registry import is_pretext
from semisonic.reporting.frozen_baselines import NAMES, full_name
from semisonic.run_page.advice import Advice, Given, advice_of
from semisonic.run_page.charts import Chart, charts
from semisonic.run_page.classes import ClassRow, Matrix, matrix_of, rows_of
from semisonic.run_page.cost import Cost, cost_of, duration
from semisonic.run_page.facts import IMAGES, Facts, Seen
from semisonic.run_page.images import Shown, mistakes_of
from semisonic.run_page.settings import Settings, settings_of
from semisonic.run_page.use import Margins, Part, margins_of, parts_of
from semisonic.schema import UserError
from semisonic.text import name_of, printable
from semisonic.training.class_groups import GROUPS

STANDINGS = {
    "running": "Running", "stopped": "Stopped", "failed": "Failed", "unfinished": "Neither finished nor at work:",
}  # fmt: skip
"""How a sentence on a run that has not finished begins."""


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class RunPage:
    title: str
    state: str
    """See `Facts.standing`."""
    said: str
    """The state in a sentence."""
    trained: list[tuple[str, str]]
    """What was trained: (what, which)."""
    tiles: list[Tile]
    advice: list[Advice]
    charts: list[Chart]
    which: str | None
    """What was evaluated, in words."""
    matrix: Matrix | None
    rows: list[ClassRow]
    mistakes: list[Shown]
    parts: list[Part]
    margins: Margins | None
    settings: Settings
    cost: Cost
    pseudo: list[tuple[str, str]] = field(default_factory=list)
    """Figures of the last pseudo-labels: (what, how much)."""
    notes: list[str] = field(default_factory=list)
    """What the page lacks and why, and what an older version did otherwise."""

    def has(self, name: str) -> bool:
        """Whether any class has such a figure."""
        return any(getattr(row, name) is not None for row in self.rows)


def run_page(facts: Facts, seen: Seen) -> RunPage:
    rows = rows_of(facts, seen)
    matrix = matrix_of(facts.classes, seen.confusion) if seen.confusion else None
    notes = [seen.missing] if seen.missing else []
    try:
        margins = margins_of(facts, seen)
    except UserError as error:
        margins = None
        notes += error.messages
    notes += facts.notes
    which = seen.which or facts.which
    state = facts.standing
    return RunPage(
        title=name_of(facts.folder.absolute().name), state=name_of(state), said=_said(facts, state),
        trained=_trained(facts), tiles=_tiles(facts), advice=advice_of(Given(facts, rows, matrix, margins)),
        charts=charts(facts), which=IMAGES[which] if which else None, matrix=matrix, rows=rows,
        mistakes=mistakes_of(facts, seen), parts=parts_of(facts, seen), margins=margins,
        settings=settings_of(facts.cfg), cost=cost_of(facts), pseudo=_pseudo(facts), notes=notes,
    )  # fmt: skip


def _said(facts: Facts, state: str) -> str:
    """How the run stands, in a sentence or two."""
    done, all_of_them = facts.step, facts.cfg.steps
    if state == "finished":
        text = f"Finished after {done:,} steps."
    else:
        reason = facts.status.get("reason")
        words = STANDINGS.get(state, f"State: {name_of(state)},")
        text = f"{words} at step {done:,} of {all_of_them:,}{f': {name_of(reason)}' if reason else ''}."
    for change in facts.extended:
        before, after = change["steps"]
        text += f" From step {change['from']:,} on it was planned for {after:,} steps in place of {before:,}."
    return text


def _trained(facts: Facts) -> list[tuple[str, str]]:
    cfg = facts.cfg
    step = f"{cfg.batch.labeled:,} labeled"
    if cfg.views.unlabeled:
        sizes = cfg.unlabeled_sizes
        grown = f"{sizes.smallest:,} to " if sizes.smallest != sizes.largest else ""
        step += f" + {grown}{sizes.largest:,} unlabeled"
    starts = cfg.starting_weights
    rows = [
        ("data", f"{cfg.data.name}, {len(facts.classes):,} classes" if facts.classes else cfg.data.name),
        ("algorithm", cfg.algorithm.name),
        ("add-ons", ", ".join(addon.name for addon in cfg.composition.addons)),
        ("network", cfg.model.name),
        ("started from", starts or "random weights"),
        ("steps", f"{cfg.steps:,}, each of {step} images"),
        ("precision", cfg.precision),
        ("seed", str(cfg.seed)),
        ("folder", str(facts.folder.absolute())),
    ]
    return [(name, printable(value)) for name, value in rows if value]


def _tiles(facts: Facts) -> list[Tile]:
    """Accuracies first, where there are any."""
    summary, tiles = facts.summary or {}, []
    if (which := facts.which) is not None:
        step = max(step for step, _ in facts.series(f"{which}/top1"))
        at = "" if step == facts.step else f"at step {step:,}"
        interval = summary.get("test_top1_interval") if which == "test" else None
        note = "95 %: {:.1f} to {:.1f}".format(*interval) if interval else at
        probe = "linear probe, " if is_pretext(facts.cfg.algorithm.name) else ""
        images = IMAGES[which]
        for raw, name in (("", "averaged network (EMA)"), ("_raw", "raw network")):
            if (value := facts.last(f"{which}{raw}/top1")) is not None:
                tiles.append(Tile(f"{probe}{name}, {images}", f"{value:.2f} %", "" if raw else note))
    tiles += _others(summary)
    if facts.split is not None:
        tiles.append(Tile("labels", f"{len(facts.split.labeled):,}"))
    tiles.append(Tile("steps", f"{facts.step:,}"))
    if (seconds := summary.get("wall_seconds", (facts.state or {}).get("elapsed"))) is not None:
        tiles.append(Tile("time", duration(seconds)))
    return tiles


def _others(summary: Any) -> list[Tile]:
    """What the run is compared with, and what follows from its evaluations."""
    tiles = []
    baseline = summary.get("baseline")
    if baseline and baseline["test_top1"] is not None:
        tiles.append(Tile("supervised baseline, same labels", f"{baseline['test_top1']:.2f} %"))
    frozen = summary.get("frozen") or {}
    for name in NAMES:
        if (top1 := frozen.get(name, {}).get("test_top1")) is not None:
            tiles.append(Tile(full_name(name), f"{top1:.2f} %"))
    if (chosen := summary.get("held_out_selected")) is not None:
        test = chosen.get("test_top1")
        value = f"{chosen['held_out_top1']:.2f} %" if test is None else f"{test:.2f} %"
        on = "held-out images, the best of several" if test is None else "test images"
        tiles.append(Tile(f"chosen by held-out images, on {on}", value, f"step {chosen['step']:,}"))
    by_class = summary.get("test_by_class") or {}
    if "balanced" in by_class:
        groups = ", ".join(f"{name} {by_class[name]:.1f}" for name in GROUPS if name in by_class)
        tiles.append(Tile("mean recall of the classes", f"{by_class['balanced']:.2f} %", groups))
    if (median := summary.get("test_top1_last20_median")) is not None:
        tiles.append(Tile("median of the last 20 evaluations (EMA)", f"{median:.2f} %"))
    return tiles


def _pseudo(facts: Facts) -> list[tuple[str, str]]:
    """Of the last reading."""
    found = []
    for name, what in (
        ("coverage", "of the unlabeled images have a pseudo-label that counts"),
        ("pseudo_label_precision", "of these pseudo-labels are right, where the truth is known"),
    ):
        if isinstance(value := facts.last(f"train/{name}"), int | float):
            found.append((f"{100 * value:.1f} %", what))
    if found and isinstance(value := facts.last("train/class_entropy"), int | float):
        found.append((f"{abs(value):.2f}", "entropy of their classes, of 1 for all alike"))
    if isinstance(value := facts.last("train/collapsed"), int) and value:
        found.append((f"{value:,}", "classes with hardly any of them"))
    threshold = facts.last("train/threshold")
    if isinstance(threshold, int | float):
        found.append((f"{threshold:.3f}", "threshold"))
    return found
