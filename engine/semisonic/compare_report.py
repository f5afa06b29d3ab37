"""The report of a comparison, from the files of its runs alone: summary.json, metrics.jsonl, config.yaml (status.json
for runs without a summary). A table on the console, compare.csv, runs.csv and one page, compare.html."""

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semisonic.compare import label, parse_folder
from semisonic.files import write_text, writing
from semisonic.renamed import saved_fields

BASELINE = "supervised"
CONFIDENCE = 0.95


@dataclass
class Run:
    """One run as its folder holds it."""

    entry: str
    labels: str
    seed: int
    folder: Path
    cfg: dict[str, Any]
    summary: dict[str, Any] | None
    """None where it has not finished."""
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> float:
        """Test error of the EMA network at the last step, in percent."""
        assert self.summary is not None
        return 100 - self.summary["test_top1"]

    @property
    def median_error(self) -> float:
        assert self.summary is not None
        return 100 - self.summary["test_top1_last20_median"]

    def series(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open() as file:
            return [json.loads(line) for line in file if line.endswith("\n")]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; `half` is None for a single value, of which the spread is unknown."""

    mean: float
    half: float | None
    count: int

    def text(self, digits: int = 2, sign: bool = False) -> str:
        number = f"{self.mean:{'+' if sign else ''}.{digits}f}"
        return number if self.half is None else f"{number} ± {self.half:.{digits}f}"


def interval(values: Sequence[float]) -> Estimate:
    """Mean and half width t_{n-1} s / sqrt(n) of its 95 % interval (Student)."""
    count = len(values)
    mean = statistics.fmean(values)
    if count < 2:
        return Estimate(mean, None, count)
    from scipy.special import stdtrit  # inverse of Student's distribution; scipy.stats would take a second to import

    t = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Estimate(mean, t * statistics.stdev(values) / math.sqrt(count), count)


@dataclass(frozen=True)
class Row:
    """An entry with one number of labels, over its finished runs. Errors and their differences in percent."""

    entry: str
    labels: str
    runs: list[Run]
    error: Estimate
    median_error: Estimate
    against: Estimate | None
    """Error less that of the supervised runs of the same seeds; None where there are none."""
    seconds: float
    """Of training and evaluation, mean over runs."""
    relative_time: float | None
    """Over that of the supervised runs of the same seeds."""
    images_per_second: float
    coverage: float | None
    precision: float | None
    collapsed: int
    """Runs that ended with collapsed classes."""

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies below zero."""
        return self.against is not None and self.against.half is not None and self.against.mean < -self.against.half


def discover(out: Path) -> list[Run]:
    """Every run of a comparison's folder, finished or not."""
    runs = []
    for folder in sorted((out / "runs").glob("*")):
        parsed = parse_folder(folder.name)
        if parsed is None or not (folder / "config.yaml").is_file():
            continue
        finished = folder / "summary.json"
        runs.append(
            Run(
                *parsed, folder, saved_fields(yaml.safe_load((folder / "config.yaml").read_text())),
                json.loads(finished.read_text()) if finished.is_file() else None, _status(folder),
            )
        )  # fmt: skip
    return runs


def _status(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return {}


def entry_order(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """The entries as the command line has them, or supervised first; then others that the folder holds."""
    found = sorted({run.entry for run in runs}, key=lambda name: (name != BASELINE, name))
    return [name for name in names if name in found] + [name for name in found if name not in names]


def label_order(labels: str) -> float:
    return math.inf if labels == "all" else int(labels)


def rows_of(runs: Sequence[Run], entries: Sequence[str]) -> list[Row]:
    """A row for each number of labels and entry that has a finished run."""
    finished = [run for run in runs if run.summary is not None]
    rows = []
    for labels in sorted({run.labels for run in finished}, key=label_order):
        here = [run for run in finished if run.labels == labels]
        baseline = {run.seed: run for run in here if run.entry == BASELINE}
        for entry in entries:
            own = sorted((run for run in here if run.entry == entry), key=lambda run: run.seed)
            if own:
                rows.append(row_of(entry, labels, own, baseline))
    return rows


def row_of(entry: str, labels: str, runs: list[Run], baseline: dict[int, Run]) -> Row:
    pairs = [(run, baseline[run.seed]) for run in runs if run.seed in baseline] if entry != BASELINE else []
    summaries = [run.summary for run in runs if run.summary is not None]
    used = [summary["pseudo_labels"] for summary in summaries if "pseudo_labels" in summary]

    def mean(name: str) -> float | None:
        values = [figures[name] for figures in used if name in figures]
        return statistics.fmean(values) if values else None

    return Row(
        entry, labels, runs,
        error=interval([run.error for run in runs]),
        median_error=interval([run.median_error for run in runs]),
        against=interval([run.error - other.error for run, other in pairs]) if pairs else None,
        seconds=statistics.fmean(summary["wall_seconds"] for summary in summaries),
        relative_time=_seconds(run for run, _ in pairs) / _seconds(other for _, other in pairs) if pairs else None,
        images_per_second=statistics.fmean(summary["images_per_second"] for summary in summaries),
        coverage=mean("coverage"), precision=mean("pseudo_label_precision"),
        collapsed=sum(bool(figures.get("collapsed_classes")) for figures in used),
    )  # fmt: skip


def _seconds(runs: Any) -> float:
    return sum(run.summary["wall_seconds"] for run in runs)


def notes_of(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing: runs that differ in more than algorithm, labels and seed."""
    fields: dict[str, Callable[[Run], Any]] = {
        "steps": lambda run: run.cfg["steps"],
        "data sets": lambda run: run.cfg["data"]["name"],
        "models": lambda run: run.cfg["model"]["name"],
        "global batches": lambda run: "{labelled} x (1 + {unlabelled_ratio})".format(**run.cfg["batch"]),
        "hardware": lambda run: (run.summary or {}).get("hardware"),
        "CPU threads": lambda run: (run.summary or {}).get("cpu_threads"),
    }
    notes = []
    for name, get in fields.items():
        values: dict[str, dict[str, None]] = {}
        for run in runs:
            if run.summary is not None:
                values.setdefault(str(get(run)), {})[label(run.entry)] = None
        if len(values) > 1:
            found = "; ".join(f"{value}: {', '.join(entries)}" for value, entries in values.items())
            notes.append(f"The runs differ in {name} ({found})")
    return notes


# Output.

COLUMNS = ("labels", "entry", "runs", "error %", "last-20 %", "vs supervised", "time", "x sup.", "images/s",
           "mask %", "precision %")  # fmt: skip


def cells(row: Row) -> list[str]:
    """A row of the table, as text."""
    against = "" if row.against is None else row.against.text(sign=True)
    share = ["" if value is None else f"{100 * value:.1f}" for value in (row.coverage, row.precision)]
    return [
        row.labels, label(row.entry), str(len(row.runs)), row.error.text(), row.median_error.text(), against,
        f"{row.seconds:.0f} s", "" if row.relative_time is None else f"{row.relative_time:.2f}",
        f"{row.images_per_second:,.0f}", *share,
    ]  # fmt: skip


LESS_NEEDED = ("images/s", "labels", "x sup.", "precision %", "mask %", "last-20 %")
"""Columns that a narrow terminal goes without, in this order; the page and the CSV files have all."""


def show(rows: Sequence[Row], console: Console) -> None:
    several = len({row.labels for row in rows}) > 1
    hidden = [None, *(name for name in LESS_NEEDED if not (several and name == "labels"))]
    columns = list(COLUMNS)
    for name in hidden:
        columns = [column for column in columns if column != name]
        table = Table(
            title="Test error of the EMA network at the last step, mean ± 95 % interval over seeds",
            title_justify="left", box=None, padding=(0, 1), pad_edge=False,
        )  # fmt: skip
        for column in columns:
            words = column == "entry"
            table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in rows:
            line = dict(zip(COLUMNS, cells(row), strict=True))
            table.add_row(*(Text(line[column]) for column in columns), style="bold" if row.better else "")
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
    console.print(table, highlight=False)


def write_csv(path: Path, records: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    with writing(path):
        write_text(path, text.getvalue())


def row_record(row: Row) -> dict[str, Any]:
    """A line of compare.csv: errors in percent, intervals as half widths, shares as fractions."""
    against = row.against or Estimate(math.nan, None, 0)
    record = {
        "labels": row.labels, "entry": row.entry, "runs": len(row.runs),
        "error": row.error.mean, "error_half_width": row.error.half,
        "last20_error": row.median_error.mean, "last20_error_half_width": row.median_error.half,
        "against_supervised": against.mean, "against_supervised_half_width": against.half, "pairs": against.count,
        "seconds": row.seconds, "time_over_supervised": row.relative_time, "images_per_second": row.images_per_second,
        "coverage": row.coverage, "pseudo_label_precision": row.precision, "collapsed_runs": row.collapsed,
    }  # fmt: skip
    return {name: _cell(value) for name, value in record.items()}


def run_record(run: Run) -> dict[str, Any]:
    """A line of runs.csv."""
    summary = run.summary or {}
    used = summary.get("pseudo_labels", {})
    record = {
        "labels": run.labels, "entry": run.entry, "seed": run.seed,
        "status": "finished" if run.summary else run.status.get("status", "unknown"),
        "step": summary.get("step", run.status.get("step")),
        "error": run.error if run.summary else None,
        "raw_error": 100 - summary["test_top1_raw"] if summary else None,
        "last20_error": run.median_error if run.summary else None,
        "seconds": summary.get("wall_seconds"), "images_per_second": summary.get("images_per_second"),
        "peak_memory_bytes": summary.get("peak_memory_bytes"), "coverage": used.get("coverage"),
        "pseudo_label_precision": used.get("pseudo_label_precision"), "class_entropy": used.get("class_entropy"),
        "collapsed_classes": " ".join(used.get("collapsed_classes", [])),
        "reason": None if run.summary else run.status.get("reason"), "folder": run.folder.name,
    }  # fmt: skip
    return {name: _cell(value) for name, value in record.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def write_report(out: Path, names: Sequence[str], console: Console, failures: dict[str, str]) -> Path | None:
    """Writes and prints the report of what is in `out`; returns the page, or None where no run has finished.

    names: the order of entries. failures: by name of the run's folder, beside what the folders themselves say.
    """
    runs = discover(out)
    entries = entry_order(runs, names)
    runs.sort(key=lambda run: (label_order(run.labels), entries.index(run.entry), run.seed))
    rows = rows_of(runs, entries)
    if not rows:
        return None
    show(rows, console)
    notes = notes_of(runs)
    for note in notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    write_csv(out / "compare.csv", [row_record(row) for row in rows])
    write_csv(out / "runs.csv", [run_record(run) for run in runs])
    unfinished = {
        run.folder.name: f"{run.status.get('status', 'unknown')} at step {run.status.get('step', '?')}"
        + (f": {run.status['reason']}" if run.status.get("reason") else "")
        for run in runs
        if run.summary is None
    }
    from semisonic.compare_page import page  # matplotlib

    with writing(out / "compare.html"):
        write_text(out / "compare.html", page(rows, notes, unfinished | failures))
    return out / "compare.html"
