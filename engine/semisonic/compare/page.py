"""The page of a comparison: tables and plots in one HTML file that needs no other.

Series are those of metrics.jsonl. Over the seeds of an entry a line is their mean and a band their range.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semisonic.compare.frozen_rows import FrozenRow, frozen_cells
from semisonic.compare.jobs import label
from semisonic.compare.rows import Row, Run, cells, columns_of
from semisonic.pages.drawings import DASHES as PIECES
from semisonic.pages.drawings import SERIES, Drawing, Key, color_of
from semisonic.pages.rendering import render
from semisonic.reporting.output import lasting
from semisonic.reporting.pictures import drawing, inline, name_in_picture
from semisonic.reporting.reporters import reason
from semisonic.text import printable

COLORS = tuple(light for light, _ in SERIES)
"""Of the entries, as matplotlib is told; the page shows those of its own, light or dark."""
DASHES = tuple(PIECES)
SIZE = (4.5, 3.0)
"""Inches of a plot of curves: on a phone it is as wide as the screen."""
POINTS = 300
"""Points of a line, at most."""
LONGEST = 24
"""Letters of an entry beside an axis."""


@dataclass(frozen=True)
class Line:
    """A curve over steps: mean over seeds, and the range around it; all [P]."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


Value = Callable[[dict[str, Any]], tuple[float, float, float] | None]
"""(value, lowest, highest) of a line of metrics.jsonl, or None where it has none."""


def scalar(name: str, scale: float = 1.0) -> Value:
    def get(line: dict[str, Any]) -> tuple[float, float, float] | None:
        value = line.get(name)
        return None if not isinstance(value, int | float) else (scale * value,) * 3

    return get


def spread(name: str) -> Value:
    """A scalar, or of a vector its mean and extremes."""

    def get(line: dict[str, Any]) -> tuple[float, float, float] | None:
        value = line.get(name)
        if isinstance(value, list):
            return float(np.mean(value)), min(value), max(value)
        return None if value is None else (value, value, value)

    return get


def collect(series: Sequence[list[dict[str, Any]]], value: Value) -> Line | None:
    """The curve of an entry's runs; at each step over those runs that have a value there. None where none has any."""
    found: dict[int, list[tuple[float, float, float]]] = {}
    for lines in series:
        for line in lines:
            if (number := value(line)) is not None:
                found.setdefault(line["step"], []).append(number)
    if not found:
        return None
    steps = np.array(sorted(found))
    keep = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))
    steps = steps[keep]
    values = [np.array(found[step]) for step in steps]
    return Line(
        steps, np.array([v[:, 0].mean() for v in values]), np.array([v[:, 1].min() for v in values]),
        np.array([v[:, 2].max() for v in values]),
    )  # fmt: skip


def style(index: int) -> dict[str, Any]:
    """Color and dashes of the entry in a place; 16 colors, then other dashes."""
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[index // len(COLORS) % len(DASHES)]}


def image(figure: Figure, text: str, legend: bool = False, captioned: bool = False) -> Drawing:
    """A figure inside the page: see `semisonic.reporting.pictures.inline`."""
    return inline(figure, text, legend, captioned)


@drawing()
def chart(title: str, unit: str, lines: dict[int, tuple[str, Line]], **axes_options: Any) -> Drawing:
    """Curves by place of their entry, with the legend above them."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for index, (name, line) in lines.items():
        axes.plot(line.steps, line.mean, label=shown(name), linewidth=1.6, **style(index))
        if (line.high > line.low).any():
            alpha = 0.15 if len(lines) <= 6 else 0.07
            axes.fill_between(line.steps, line.low, line.high, color=style(index)["color"], alpha=alpha, linewidth=0)
    axes.set(xlabel="step", ylabel=unit, **axes_options)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(alpha=0.25)
    return image(figure, title, legend=True, captioned=True)


def shown(name: str) -> str:
    """A name as matplotlib takes it for a label: one that begins with an underscore would be left out."""
    return f"\u200b{name}" if name.startswith("_") else printable(name)


SHARE = {"ylim": (-2, 102), "yticks": range(0, 101, 20)}
"""Axes of shares in percent, alike wherever they are compared: 0 to 100 %, and room for a line at an end."""
CURVES: tuple[tuple[str, str, Value, dict[str, Any]], ...] = (
    ("Test accuracy of the EMA network", "%", scalar("test/top1"), {}),
    ("Coverage: unlabeled images whose pseudo-labels count", "%", scalar("train/coverage", 100), SHARE),
    ("Precision of the pseudo-labels that count", "%", scalar("train/pseudo_label_precision", 100), SHARE),
    ("Threshold: mean over classes, band from the lowest to the highest", "", spread("train/threshold"), {}),
    ("Use of classes: entropy of the pseudo-labels that count; 1 = all alike", "", scalar("train/class_entropy"), {}),
)  # fmt: skip
THRESHOLDS = "Threshold of each class at the end, mean over seeds"
CELL_TEXT = "#101010"
"""Of text on pale cells, which stays dark on a dark page."""
SHARES = "Use of classes at the end: share of the pseudo-labels that count, over an equal share"


def plots(rows: Sequence[Row], place: dict[str, int]) -> list[Drawing | str]:
    """All plots of one number of labels; a line of text in place of one that failed."""
    series = {row.entry: [run.series() for run in row.runs] for row in rows}
    found = [drawn(curve[0], partial(curves, series, place, *curve)) for curve in CURVES]
    found.append(drawn(THRESHOLDS, lambda: by_class(last_vectors(series, "train/threshold"), place)))
    found.append(drawn(SHARES, lambda: pseudo_labels(last_vectors(series, "train/class_share"))))
    return [picture for picture in found if picture is not None]


def drawn(title: str, draw: Callable[[], Drawing | None]) -> Drawing | str | None:
    """What `draw` returns, None where there is nothing to draw; a line in its place where it fails, as on stderr: a
    picture does not end a report."""
    try:
        return draw()
    except Exception as error:  # it may be any library's, and of any numbers
        why = f"is left out: {reason(error)}"
        print(f"warning: the picture {title!r} {why}", file=lasting(sys.stderr))
        return f"{title}: {why}"


def curves(
    series: dict[str, list[list[dict[str, Any]]]], place: dict[str, int], title: str, unit: str, value: Value,
    options: dict[str, Any],
) -> Drawing | None:  # fmt: skip
    found = {entry: collect(lines, value) for entry, lines in series.items()}
    lines = {place[entry]: (label(entry), line) for entry, line in found.items() if line is not None}
    return chart(title, unit, lines, **options) if lines else None


def last_vectors(series: dict[str, list[list[dict[str, Any]]]], name: str) -> dict[str, np.ndarray]:
    """By entry, the last vector of each run, averaged over its runs."""
    result = {}
    for entry, runs in series.items():
        last = [
            next((line[name] for line in reversed(lines) if isinstance(line.get(name), list)), None) for lines in runs
        ]
        if vectors := [vector for vector in last if vector is not None]:
            result[entry] = np.mean(vectors, axis=0)
    return result


@drawing()
def by_class(vectors: dict[str, np.ndarray], place: dict[str, int]) -> Drawing | None:
    if not vectors:
        return None
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for entry, vector in vectors.items():
        marker = "o" if len(vector) <= 100 else ""
        name = shown(label(entry))
        axes.plot(
            range(len(vector)), vector, marker=marker, markersize=3, linewidth=1, label=name, **style(place[entry])
        )
    axes.set(xlabel="class")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(alpha=0.25)
    return image(figure, THRESHOLDS, legend=True, captioned=True)


@drawing()
def pseudo_labels(shares: dict[str, np.ndarray]) -> Drawing | None:
    """A row an entry, a column a class: its part of the pseudo-labels that count, over an equal part."""
    shares = {entry: share / share.sum() for entry, share in shares.items() if share.any()}
    if not shares:
        return None
    names, matrix = list(shares), np.stack(list(shares.values()))
    matrix = matrix * matrix.shape[1]
    few = matrix.shape[1] <= 20
    figure = Figure(
        figsize=(max(SIZE[0], 2.2 + 0.42 * matrix.shape[1] * few), 1.3 + 0.3 * len(names)), layout="constrained"
    )
    axes = figure.subplots()
    # Cells are shapes, so that they stay sharp; of very many, a picture, so that the page stays small.
    picture = axes.pcolormesh(matrix, cmap="RdBu", vmin=0, vmax=2, rasterized=matrix.size > 2000)
    axes.set_yticks(np.arange(len(names)) + 0.5, [name_in_picture(label(name), LONGEST) for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="class")
    if few:
        axes.set_xticks(np.arange(matrix.shape[1]) + 0.5, [str(number) for number in range(matrix.shape[1])])
        for (row, column), value in np.ndenumerate(matrix):
            color = "white" if abs(value - 1) > 0.6 else CELL_TEXT
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", color=color)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.colorbar(picture, ax=axes, extend="max")
    return image(figure, SHARES, captioned=True)


RUN_COLUMNS = ("entry", "labels", "seed", "error %", "last-20 %", "raw %", "time", "images/s", "report", "folder")
REPORT = "report.html"
"""The page of a run, in its folder, which `semisonic report RUN` writes."""


class Link(NamedTuple):
    """Text that leads somewhere."""

    text: str
    address: str


def has_report(run: Run) -> bool:
    return (run.folder / REPORT).is_file()


def address(run: Run, file: str = "") -> str:
    """Of a run's folder or a file in it, from the page on."""
    return quote(f"runs/{run.folder.name}/{file}")


def page(
    rows: Sequence[Row], notes: Sequence[str], unfinished: dict[str, str], frozen: Sequence[FrozenRow] = ()
) -> str:  # fmt: skip
    """The whole page, which lies beside the folder `runs`. unfinished: by name of a run's folder, why it has no result.
    frozen: the baselines on frozen features."""
    place = {entry: index for index, entry in enumerate(dict.fromkeys(row.entry for row in rows))}
    first = rows[0].runs[0]
    parts = []
    for labels in dict.fromkeys(row.labels for row in rows):
        here = [row for row in rows if row.labels == labels]
        count = len(columns_of(rows))
        results = [frozen_result(row, count) for row in frozen if row.labels == labels]
        results += [result(row, place[row.entry], count) for row in here]
        parts.append({"labels": labels, "rows": results, "plots": plots(here, place)})
    return render(
        "compare/page.html.j2", data_name=first.cfg["data"]["name"], setting=_setting(first.cfg, first.summary or {}),
        notes=notes, columns=columns_of(rows)[1:], collapsed=any(row.collapsed for row in rows), parts=parts,
        unfinished=[(Link(name, quote(f"runs/{name}/")), why) for name, why in sorted(unfinished.items())],
        run_columns=RUN_COLUMNS, runs=run_lines(rows), settings=settings(rows),
    )  # fmt: skip


def _setting(cfg: dict[str, Any], summary: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
    batch = cfg["batch"]
    return (
        f"{cfg['steps']:,} steps, {batch['labeled']} labeled + {batch['labeled'] * batch['unlabeled_ratio']} "
        f"unlabeled images a step, model {cfg['model']['name']}; {summary.get('hardware')}, "
        f"{summary.get('cpu_threads')} CPU threads a run; {versions}"
    )


def result(row: Row, place: int, columns: int) -> dict[str, Any]:
    """A line of the table of results with so many columns, its cells without the number of labels and the entry."""
    _, name, *others = cells(row)[:columns]
    collapsed = f"{row.collapsed} of {len(row.runs)}" if row.collapsed else ""
    key = Key(name, color_of(place), PIECES[style(place)["linestyle"]])
    links = [Link(str(run.seed), address(run, REPORT if has_report(run) else "")) for run in row.runs]
    return {"name": name, "key": key, "cells": others, "collapsed": collapsed, "better": row.better, "runs": links}


def frozen_result(row: FrozenRow, count: int) -> dict[str, Any]:
    """The same of a baseline on frozen features, which has no curve and so no line."""
    cells = frozen_cells(row)[2:count]
    return {"name": row.name, "key": None, "cells": cells, "collapsed": "", "better": row.better, "runs": ()}


def run_lines(rows: Sequence[Row]) -> list[tuple[str | Link, ...]]:
    """The table of runs, whose columns are `RUN_COLUMNS`."""
    lines: list[tuple[str | Link, ...]] = []
    for row in rows:
        for run in row.runs:
            summary = run.summary or {}
            median = "" if run.median_error is None else f"{run.median_error:.2f}"
            line = (
                label(run.entry), run.labels, str(run.seed), f"{run.error:.2f}", median,
                f"{100 - summary['test_top1_raw']:.2f}", f"{summary['wall_seconds']:.0f} s",
                f"{summary['images_per_second']:,.0f}",
                Link("report", address(run, REPORT)) if has_report(run) else "", Link(run.folder.name, address(run)),
            )  # fmt: skip
            lines.append(line)
    return lines


def settings(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The configuration of each entry's first run."""
    found = []
    for entry in dict.fromkeys(row.entry for row in rows):
        cfg = next(row for row in rows if row.entry == entry).runs[0].cfg
        found.append({"name": label(entry), "text": yaml.safe_dump(cfg, sort_keys=False)})
    return found
