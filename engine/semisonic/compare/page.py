"""The page of a comparison: tables and plots in one HTML file that needs no other.

Series are those of metrics.jsonl. Over the seeds of an entry a line is their mean and a band their range.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import yaml
from matplotlib.figure import Figure

from semisonic.compare.frozen_rows import FrozenRow, frozen_cells
from semisonic.compare.jobs import label
from semisonic.compare.rows import Row, cells, columns_of
from semisonic.pages.pictures import Picture, data_uri
from semisonic.pages.rendering import render
from semisonic.reporting.output import lasting
from semisonic.reporting.pictures import drawing, name_in_picture, saved
from semisonic.reporting.reporters import reason

COLORS = (
    "#000000", "#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2",
    "#8c564b", "#bcbd22", "#00008b", "#7f7f7f", "#00e5a0", "#ff00ff", "#6b0f1a", "#c9a0dc",
)  # fmt: skip
DASHES = ("-", "--", ":", "-.")
POINTS = 300
"""Points of a line, at most."""
LEGEND = 8
"""Font size in legends."""
LONGEST = 60
"""Letters of an entry there."""


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


def image(figure: Figure, text: str) -> Picture:
    """A figure inside the page; the same figure is the same text."""
    with matplotlib.rc_context({"svg.hashsalt": "semisonic"}):
        return Picture(text, data_uri(saved(figure, "svg", metadata={"Date": None}), "svg"))


@drawing()
def chart(title: str, unit: str, lines: dict[int, tuple[str, Line]], **axes_options: Any) -> Picture:
    """Curves by place of their entry, with the legend beside them."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for index, (name, line) in lines.items():
        axes.plot(line.steps, line.mean, label=name_in_picture(name, LONGEST), linewidth=1.6, **style(index))
        if (line.high > line.low).any():
            alpha = 0.15 if len(lines) <= 6 else 0.07
            axes.fill_between(line.steps, line.low, line.high, color=style(index)["color"], alpha=alpha, linewidth=0)
    axes.set(xlabel="step", ylabel=unit, title=title, **axes_options)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=LEGEND, frameon=False)
    return image(figure, title)


CURVES: tuple[tuple[str, str, Value, dict[str, Any]], ...] = (
    ("Test accuracy of the EMA network", "%", scalar("test/top1"), {}),
    (
        "Coverage: unlabeled images whose pseudo-labels count", "%", scalar("train/coverage", 100),
        {"ylim": (-2, 102)},
    ),
    ("Precision of the pseudo-labels that count", "%", scalar("train/pseudo_label_precision", 100), {}),
    ("Threshold: mean over classes, band from the lowest to the highest", "", spread("train/threshold"), {}),
    ("Use of classes: entropy of the pseudo-labels that count; 1 = all alike", "", scalar("train/class_entropy"), {}),
)  # fmt: skip
THRESHOLDS = "Threshold of each class at the end, mean over seeds"
SHARES = "Use of classes at the end: share of the pseudo-labels that count, over an equal share"


def plots(rows: Sequence[Row], place: dict[str, int]) -> list[Picture | str]:
    """All plots of one number of labels; a line of text in place of one that failed."""
    series = {row.entry: [run.series() for run in row.runs] for row in rows}
    found = [drawn(curve[0], partial(curves, series, place, *curve)) for curve in CURVES]
    found.append(drawn(THRESHOLDS, lambda: by_class(last_vectors(series, "train/threshold"), place)))
    found.append(drawn(SHARES, lambda: pseudo_labels(last_vectors(series, "train/class_share"))))
    return [picture for picture in found if picture is not None]


def drawn(title: str, draw: Callable[[], Picture | None]) -> Picture | str | None:
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
) -> Picture | None:  # fmt: skip
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
def by_class(vectors: dict[str, np.ndarray], place: dict[str, int]) -> Picture | None:
    if not vectors:
        return None
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    for entry, vector in vectors.items():
        marker = "o" if len(vector) <= 100 else ""
        axes.plot(
            range(len(vector)),
            vector,
            marker=marker,
            markersize=4,
            linewidth=1,
            label=name_in_picture(label(entry), LONGEST),
            **style(place[entry]),
        )
    axes.set(xlabel="class", title=THRESHOLDS)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=LEGEND, frameon=False)
    return image(figure, THRESHOLDS)


@drawing()
def pseudo_labels(shares: dict[str, np.ndarray]) -> Picture | None:
    """A row an entry, a column a class: its part of the pseudo-labels that count, over an equal part."""
    shares = {entry: share / share.sum() for entry, share in shares.items() if share.any()}
    if not shares:
        return None
    names, matrix = list(shares), np.stack(list(shares.values()))
    matrix = matrix * matrix.shape[1]
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(names)), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(matrix, cmap="RdBu", vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(names)), [name_in_picture(label(name), LONGEST) for name in names], fontsize=LEGEND)
    axes.set(xlabel="class", title=SHARES)
    if matrix.shape[1] <= 20:
        axes.set_xticks(range(matrix.shape[1]))
        for (row, column), value in np.ndenumerate(matrix):
            color = "white" if abs(value - 1) > 0.7 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(picture, ax=axes, extend="max")
    return image(figure, SHARES)


RUN_COLUMNS = ("entry", "labels", "seed", "error %", "last-20 %", "raw %", "time", "images/s", "folder")


def page(
    rows: Sequence[Row], notes: Sequence[str], unfinished: dict[str, str], frozen: Sequence[FrozenRow] = ()
) -> str:  # fmt: skip
    """The whole page. unfinished: by run, why it has no result. frozen: the baselines on frozen features."""
    place = {entry: index for index, entry in enumerate(dict.fromkeys(row.entry for row in rows))}
    first = rows[0].runs[0]
    parts = []
    for labels in dict.fromkeys(row.labels for row in rows):
        here = [row for row in rows if row.labels == labels]
        count = len(columns_of(rows))
        results = [frozen_result(row, count) for row in frozen if row.labels == labels]
        results += [result(row, style(place[row.entry])["color"], count) for row in here]
        parts.append({"labels": labels, "rows": results, "plots": plots(here, place)})
    return render(
        "compare/page.html.j2", data_name=first.cfg["data"]["name"], setting=_setting(first.cfg, first.summary or {}),
        notes=notes, columns=[*columns_of(rows)[1:], "collapsed"], parts=parts, unfinished=sorted(unfinished.items()),
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


def result(row: Row, color: str, columns: int) -> dict[str, Any]:
    """A line of the table of results with so many columns, its cells without the number of labels and the entry."""
    _, name, *others = cells(row)[:columns]
    collapsed = f"{row.collapsed} of {len(row.runs)}" if row.collapsed else ""
    return {"name": name, "color": color, "cells": [*others, collapsed], "better": row.better}


def frozen_result(row: FrozenRow, count: int) -> dict[str, Any]:
    """The same of a baseline on frozen features, which has no curve and so no color."""
    return {"name": row.name, "color": "none", "cells": [*frozen_cells(row)[2:count], ""], "better": row.better}


def run_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table of runs, whose columns are `RUN_COLUMNS`."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        for run in row.runs:
            summary = run.summary or {}
            median = "" if run.median_error is None else f"{run.median_error:.2f}"
            line = (
                label(run.entry), run.labels, str(run.seed), f"{run.error:.2f}", median,
                f"{100 - summary['test_top1_raw']:.2f}", f"{summary['wall_seconds']:.0f} s",
                f"{summary['images_per_second']:,.0f}", run.folder.name,
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
