"""Curves of a run, for a template to draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semisonic.pages.charts import Canvas, Tick, short
from semisonic.run_page.facts import IMAGES, Facts

CANVAS = Canvas(380.0, 200.0, right=368.0, bottom=170.0)
POINTS = 240
"""Of a line, at most: of more, means of neighbors."""
LINES = 6
"""Of a chart, at most; a page has as many colors."""
SETTLED = 0.02
"""Share of the run after which losses have left their beginning: what is higher before it is cut off."""

Points = Sequence[tuple[float, float]]
"""(step, value)."""


@dataclass
class Line:
    name: str
    points: str
    """As an SVG has them."""
    last: str
    """The newest value, as text."""
    band: str = ""
    """A polygon around the line, or nothing."""


@dataclass
class Chart:
    title: str
    unit: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    note: str = ""
    canvas: Canvas = CANVAS

    @property
    def summary(self) -> str:
        """For those who listen."""
        return "; ".join(f"{line.name}: {line.last}{self.unit} at the end" for line in self.lines)


@dataclass
class _Series:
    name: str
    points: Points
    low: Points = ()
    high: Points = ()


def charts(facts: Facts) -> list[Chart]:
    """All curves that a run has at least two points of."""
    found = [_accuracy(facts), _losses(facts), _pseudo_labels(facts), _thresholds(facts), _rates(facts)]
    return [chart for chart in found if chart is not None]


def _accuracy(facts: Facts) -> Chart | None:
    """Of the averaged and of the raw network."""
    if (which := facts.which) is None:
        return None
    series = [
        _Series("averaged (EMA)", facts.series(f"{which}/top1")),
        _Series("raw", facts.series(f"{which}_raw/top1")),
    ]
    if which == "test":
        series.append(_Series("held-out (EMA)", facts.series("held_out/top1")))
    return _chart(f"Accuracy on the {IMAGES[which]}", " %", series, highest=100.0, digits=2)


def _losses(facts: Facts) -> Chart | None:
    """All terms of the loss, and that of the evaluations."""
    names = [name for name in _names(facts) if name == "train/loss" or name.startswith("train/loss_")]
    # A method with a single term has it twice.
    names = names if len(names) != 2 or facts.series(names[0]) != facts.series(names[1]) else names[:1]
    series = [_Series(_plain(name), facts.series(name)) for name in names]
    below = [one.name for one in series if any(value < 0 for _, value in one.points)]
    series = [one for one in series if one.name not in below][: LINES - 1]
    if which := facts.which:
        series.append(_Series(f"{IMAGES[which]} (EMA)", facts.series(f"{which}/loss")))
    settled = SETTLED * facts.cfg.steps
    usual = [value for one in series for step, value in one.points if step >= settled]
    chart = _chart("Losses", "", series, lowest=0.0, top=max(usual, default=None), digits=3)
    if chart and below:
        chart.note = f"{chart.note} Not drawn, for it is below 0: {', '.join(below)}.".strip()
    return chart


def _pseudo_labels(facts: Facts) -> Chart | None:
    coverage, precision = facts.series("train/coverage"), facts.series("train/pseudo_label_precision")
    series = [_Series("coverage", _scaled(coverage, 100)), _Series("precision", _scaled(precision, 100))]
    return _chart("Pseudo-labels that count", " %", series, lowest=0.0, highest=100.0, digits=1)


def _thresholds(facts: Facts) -> Chart | None:
    """A number, or of one for each class the mean with the range."""
    lines = [line for line in facts.readings if isinstance(line.get("train/threshold"), list)]
    if not lines:
        return _chart("Threshold", "", [_Series("threshold", facts.series("train/threshold"))], lowest=0.0, digits=3)
    parts = [(line["step"], [v for v in line["train/threshold"] if _number(v)]) for line in lines]
    parts = [(step, values) for step, values in parts if values]
    series = _Series(
        "mean over classes, and their range",
        [(step, sum(values) / len(values)) for step, values in parts],
        [(step, min(values)) for step, values in parts], [(step, max(values)) for step, values in parts],
    )  # fmt: skip
    return _chart("Threshold of the classes", "", [series], lowest=0.0, digits=3)


def _rates(facts: Facts) -> Chart | None:
    """Learning rates that change over the run."""
    names = [name for name in _names(facts) if name == "lr" or name.startswith("lr/")]
    series = [_Series(name.removeprefix("lr/").replace("lr", "learning rate"), facts.series(name)) for name in names]
    series = [one for one in series if len({value for _, value in one.points}) > 1]
    return _chart("Learning rate", "", series[:LINES], lowest=0.0, digits=5)


def _names(facts: Facts) -> list[str]:
    return list(dict.fromkeys(name for line in facts.readings for name in line))


def _plain(name: str) -> str:
    """A term of the loss, in words."""
    leaf = name.removeprefix("train/loss").strip("_").replace("_", " ")
    return leaf or "all"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _scaled(points: Points, factor: float) -> Points:
    return [(step, factor * value) for step, value in points]


def _chart(
    title: str, unit: str, series: Sequence[_Series], lowest: float | None = None, highest: float | None = None,
    top: float | None = None, digits: int = 2,
) -> Chart | None:  # fmt: skip
    """lowest, highest: where the scale begins and ends; None: at a round number near the values. top: what is higher is
    cut off, which a note says."""
    series = [one for one in series if len(one.points) > 1]
    if not series:
        return None
    values = [value for one in series for _, value in (*one.points, *one.low, *one.high)]
    most = max(values) if top is None else min(max(values), top)
    end = most if highest is None else highest
    ticks = scale(min(min(values), end - 1) if lowest is None else lowest, end)  # a line at the end lies below it
    low, high = ticks[0], ticks[-1]
    last = max(step for one in series for step, _ in one.points)

    def x(step: float) -> float:
        return CANVAS.x(step, last or 1)

    def place(points: Points) -> str:
        return " ".join(f"{x(step):.1f},{CANVAS.y(value, low, high):.1f}" for step, value in thinned(points))

    lines = []
    for one in series:
        band = f"{place(one.high)} {place(one.low[::-1])}" if one.low else ""
        lines.append(Line(one.name, place(one.points), f"{one.points[-1][1]:.{digits}f}", band))
    x_ticks = [Tick(x(step), short(step)) for step in scale(0, last) if step <= last]
    y_ticks = [Tick(CANVAS.y(value, low, high), short(value)) for value in ticks]
    note = f"Higher values at the beginning, up to {max(values):.3g}, are cut off." if max(values) > high else ""
    return Chart(title, unit, lines, x_ticks, y_ticks, note)


def thinned(points: Points) -> Points:
    """At most `POINTS`, each the mean of as many neighbors; the last one stays as it is."""
    if len(points) <= POINTS:
        return points
    size = math.ceil(len(points) / (POINTS - 1))
    groups = [points[start : start + size] for start in range(0, len(points) - 1, size)]
    means = [(sum(step for step, _ in g) / len(g), sum(value for _, value in g) / len(g)) for g in groups]
    return [*means, points[-1]]


def scale(low: float, high: float) -> list[float]:
    """Round numbers from `low` or just below it to `high` or just above it, three to six of them."""
    width = high - low or abs(high) or 1.0
    high = low + width
    unit = 10.0 ** math.floor(math.log10(width / 4))
    step = next(unit * f for f in (1, 2, 2.5, 5, 10) if unit * f >= width / 5 * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(first, max(last, first + 1) + 1)]
