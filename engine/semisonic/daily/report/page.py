"""The report as one page that needs no other file."""

from collections.abc import Mapping
from typing import Any

from semisonic.daily.report import words
from semisonic.daily.report.charts import charts
from semisonic.daily.report.model import ClassFacts, Estimate, Report
from semisonic.pages.rendering import render

ROWS = 25
"""Of a table of classes, before the others are folded away."""
PIXELATED = 64
"""Images of at most so many pixels a side are enlarged by whole pixels: of such small ones every pixel counts."""
FLOORS = (0.9, 0.8, 0.5, 0.0)
"""Where the scale of a share may begin."""


def page(report: Report, pictures: Mapping[int, str]) -> str:
    """The page. pictures: by image, its address inside of the page; an image without one cannot be shown."""
    return render(
        "daily/report/day.html.j2", report=report, of=report.accuracy, words=words, pictures=pictures, rows=ROWS,
        pixelated=PIXELATED, charts=charts(report.course), range=place, shifts=shifts(report.classes),
        found=sum(queue.errors for queue in report.queues), looked=sum(queue.looks for queue in report.queues),
        audited=sorted((one for one in report.classes if one.status == "active"), key=_doubtful_first),
    )  # fmt: skip


def _doubtful_first(one: ClassFacts) -> tuple[float, str]:
    return (2.0 if one.precision is None else one.precision.value, one.name)


def place(found: Estimate, zoom: bool = False) -> dict[str, float]:
    """An interval on a scale that ends at 100 %, in percent of the scale's width; `floor` is where it begins.

    zoom: as near as the interval allows, in place of 0.
    """
    floor = next(low for low in FLOORS if low <= found.low) if zoom else 0.0

    def at(value: float) -> float:
        return round(100 * (value - floor) / (1 - floor), 2)

    width = max(at(found.high) - at(found.low), 0.5)  # one of no width is still seen
    return {"floor": floor, "low": at(found.low), "width": round(width, 2), "value": at(found.value)}


def shifts(classes: list[ClassFacts]) -> list[dict[str, Any]]:
    """The shares of the classes on this day and the day before, the largest changes first; none on the first day."""
    today = sum(one.today for one in classes)
    before = sum(one.yesterday or 0 for one in classes)
    if not today or not before:
        return []
    found: list[dict[str, Any]] = []
    for one in classes:
        now, then = one.today / today, (one.yesterday or 0) / before
        if one.today or one.yesterday:
            new = not one.yesterday
            found.append({"name": one.name, "today": now, "yesterday": then, "change": now - then, "new": new})
    widest = max(abs(row["change"]) for row in found) or 1.0
    for row in found:
        row["bar"] = round(50 * abs(row["change"]) / widest, 2)
    return sorted(found, key=lambda row: (-abs(row["change"]), row["name"]))
