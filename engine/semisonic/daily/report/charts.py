"""Plots of the course over days, for a template to draw."""

import math
from dataclasses import dataclass, field

from semisonic.daily.report.model import Day
from semisonic.daily.report.words import interval, percent
from semisonic.pages.charts import Canvas, Tick, short

CANVAS = Canvas(360.0, 190.0, right=352.0, bottom=160.0)
SCALES = ((0.9, 0.02), (0.8, 0.05), (0.5, 0.1), (0.0, 0.25))
"""Where a scale of shares may begin, and its steps."""
SHOWN = 60
"""Days of a plot, at most; the newest."""


@dataclass
class Mark:
    """A day's value: a bar from `y` to `low`, or a point with its interval from `high` up to `low` down."""

    x: float
    y: float
    low: float
    high: float
    text: str
    """For those who hover or listen."""


@dataclass
class Series:
    name: str
    kind: str
    """A CSS class: of its color."""
    marks: list[Mark] = field(default_factory=list)
    width: float = 0.0
    """Of bars."""

    @property
    def line(self) -> str:
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


@dataclass
class Chart:
    title: str
    summary: str
    """What it shows, in words."""
    kind: str
    """points or bars."""
    series: list[Series]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    canvas: Canvas = CANVAS


def charts(days: list[Day]) -> list[Chart]:
    """The plots of a course of at least two days; none of a shorter one."""
    days = days[-SHOWN:]
    if len(days) < 2:
        return []
    return [chart for chart in (accuracy(days), looks(days), labels(days)) if chart is not None]


def accuracy(days: list[Day]) -> Chart | None:
    """Of each day's auto-labels, with its interval."""
    known = [(place, day.accuracy) for place, day in enumerate(days) if day.accuracy is not None]
    if not known:
        return None
    floor, step = next(scale for scale in SCALES if scale[0] <= min(one.low for _, one in known))
    series = Series("audited", "main")
    for place, one in known:
        text = f"day {days[place].number}: {percent(one.value)} ({interval(one)}), n = {one.n:,}"
        value, low, high = (CANVAS.y(share, floor, 1.0) for share in (one.value, one.low, one.high))
        series.marks.append(Mark(_column(place, len(days)), value, low, high, text))
    shares = [floor + step * place for place in range(round((1 - floor) / step) + 1)]
    ticks = [Tick(CANVAS.y(share, floor, 1.0), f"{100 * share:.0f} %") for share in shares]
    summary = "; ".join(mark.text for mark in series.marks)
    title = "Right among the network's labels of each day, as audited, with 95 % intervals"
    return Chart(title, summary, "points", [series], _days(days), ticks)


def looks(days: list[Day]) -> Chart | None:
    """Looks of each day, and the errors that they found."""
    return _bars(
        days, "Looks of each day, and the wrong labels that they found",
        [("looks", "soft", [day.looks for day in days]), ("wrong labels found", "bad", [day.errors for day in days])],
    )  # fmt: skip


def labels(days: list[Day]) -> Chart | None:
    """Images so far, and those of them with a label of a person."""
    images, total = [], 0
    for day in days:
        total += day.images
        images.append(total)
    return _bars(
        days, "Images so far, and those with a label of a person",
        [("images", "soft", images), ("labeled by people", "main", [day.by_people for day in days])],
    )  # fmt: skip


def _bars(days: list[Day], title: str, columns: list[tuple[str, str, list[int]]]) -> Chart | None:
    """Bars of each day in front of each other, the larger ones behind."""
    top = max(max(values) for _, _, values in columns)
    if not top:
        return None
    steps = _steps(float(top))
    most = steps[-1]
    found = []
    for depth, (name, kind, values) in enumerate(columns):
        width = min(44.0, (CANVAS.right - CANVAS.left) / len(days) * 0.72) * (1 - 0.3 * depth)
        series = Series(name, kind, width=width)
        for place, value in enumerate(values):
            text = f"day {days[place].number}: {value:,} {name}"
            top_at = CANVAS.y(value, 0, most)
            series.marks.append(Mark(_column(place, len(days)), top_at, CANVAS.bottom, top_at, text))
        found.append(series)
    ticks = [Tick(CANVAS.y(value, 0, most), short(value)) for value in steps]
    last = days[-1].number
    summary = f"On day {last}: " + ", ".join(f"{values[-1]:,} {name}" for name, _, values in columns)
    return Chart(title, summary, "bars", found, _days(days), ticks)


def _column(place: int, count: int) -> float:
    """Where the middle of a day's column is."""
    return CANVAS.x(place + 0.5, count)


def _days(days: list[Day]) -> list[Tick]:
    """Numbers of days, as many as there is room for."""
    every = math.ceil(len(days) / 12)
    return [Tick(_column(place, len(days)), str(day.number)) for place, day in enumerate(days) if place % every == 0]


def _steps(high: float) -> list[float]:
    """Round whole numbers from 0 to `high` or just above it, five of them or so."""
    raw = max(high / 4, 1.0)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(step for step in (unit * f for f in (1, 2, 2.5, 5, 10)) if step >= raw * 0.999 and step % 1 == 0)
    return [step * place for place in range(math.ceil(high / step - 1e-9) + 1)]
