"""The report of a comparison: a table on the console, compare.csv, runs.csv and one page, compare.html."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semisonic.checkpoint.atomic_files import write_text, writing
from semisonic.compare.frozen_rows import FrozenRow, frozen_cells, frozen_record, frozen_rows
from semisonic.compare.rows import (
    Estimate,
    Row,
    Run,
    cells,
    columns_of,
    discover,
    entry_order,
    label_order,
    notes_of,
    rows_of,
)
from semisonic.text import csv_cell

LESS_NEEDED = ("images/s", "labels", "x sup.", "precision %", "coverage %", "last-20 %")
"""Columns that a narrow terminal goes without, in this order; the page and the CSV files have all."""


def show(rows: Sequence[Row], console: Console, frozen: Sequence[FrozenRow] = ()) -> None:
    """Prints the table: by labels the baselines on frozen features, then the methods."""
    order = list(dict.fromkeys(row.labels for row in rows))
    lines = [(row.labels, frozen_cells(row), row.better) for row in frozen]
    lines += [(row.labels, cells(row), row.better) for row in rows]
    lines.sort(key=lambda line: order.index(line[0]))
    several = len({row.labels for row in rows}) > 1
    hidden = [None, *(name for name in LESS_NEEDED if not (several and name == "labels"))]
    named = columns_of(rows)
    columns = list(named)
    for name in hidden:
        columns = [column for column in columns if column != name]
        table = Table(
            title="Test error of the EMA network at the last step, mean ± 95 % interval over seeds",
            title_justify="left", box=None, padding=(0, 1), pad_edge=False,
        )  # fmt: skip
        for column in columns:
            words = column == "entry"
            table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for _, texts, better in lines:
            line = dict(zip(named, texts, strict=False))
            table.add_row(*(Text(line[column]) for column in columns), style="bold" if better else "")
        if console.measure(table, options=console.options.update(width=1000)).maximum <= console.width:
            break
    console.print(table, highlight=False)


def write_csv(path: Path, records: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO()
    columns = dict.fromkeys(name for record in records for name in record)  # some rows have more than others
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    with writing(path):
        write_text(path, text.getvalue())


def row_record(row: Row) -> dict[str, Any]:
    """A line of compare.csv: errors in percent, intervals as half widths, shares as fractions."""
    against, median = (found or Estimate(math.nan, None, 0) for found in (row.against, row.median_error))
    record = {
        "labels": row.labels, "entry": row.entry, "runs": len(row.runs),
        "error": row.error.mean, "error_half_width": row.error.half,
        "last20_error": median.mean, "last20_error_half_width": median.half,
        "against_supervised": against.mean, "against_supervised_half_width": against.half, "pairs": against.count,
        "seconds": row.seconds, "time_over_supervised": row.relative_time, "images_per_second": row.images_per_second,
        "coverage": row.coverage, "pseudo_label_precision": row.precision, "collapsed_runs": row.collapsed,
    }  # fmt: skip
    if row.balanced_error is not None:
        record |= {"balanced_error": row.balanced_error.mean, "balanced_error_half_width": row.balanced_error.half}
    for name, error in row.group_errors.items():
        record |= {f"{name}_error": error.mean, f"{name}_error_half_width": error.half}
    return {name: _cell(value) for name, value in record.items()}


def run_record(run: Run) -> dict[str, Any]:
    """A line of runs.csv."""
    summary = run.summary or {}
    used = summary.get("pseudo_labels") or {}
    record = {
        "labels": run.labels, "entry": run.entry, "seed": run.seed,
        "status": "finished" if run.summary else run.status.get("status", "unknown"),
        "step": summary.get("step", run.status.get("step")),
        "error": run.error if run.tested else None,
        "raw_error": 100 - summary["test_top1_raw"] if run.tested else None,
        "last20_error": run.median_error if run.tested else None,
        "seconds": summary.get("wall_seconds"), "images_per_second": summary.get("images_per_second"),
        "peak_memory_bytes": summary.get("peak_memory_bytes"), "coverage": used.get("coverage"),
        "pseudo_label_precision": used.get("pseudo_label_precision"), "class_entropy": used.get("class_entropy"),
        "collapsed_classes": " ".join(map(str, used.get("collapsed_classes", []))),
        "reason": None if run.summary else run.status.get("reason"), "folder": run.folder.name,
    }  # fmt: skip
    record |= {f"{name}_recall": value for name, value in (summary.get("test_by_class") or {}).items()}
    return {name: _cell(value) for name, value in record.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    if isinstance(value, str):  # a reason or the name of a class may begin as a formula does
        return csv_cell(value)
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
    frozen = frozen_rows(runs)
    show(rows, console, frozen)
    notes = notes_of(runs)
    for note in notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    baselines = [{name: _cell(value) for name, value in frozen_record(row).items()} for row in frozen]
    write_csv(out / "compare.csv", [*(row_record(row) for row in rows), *baselines])
    write_csv(out / "runs.csv", [run_record(run) for run in runs])
    unfinished = {
        run.folder.name: f"{run.status.get('status', 'unknown')} at step {run.status.get('step', '?')}"
        + (f": {run.status['reason']}" if run.status.get("reason") else "")
        for run in runs
        if run.summary is None
    }
    from semisonic.compare.page import page  # matplotlib

    with writing(out / "compare.html"):
        write_text(out / "compare.html", page(rows, notes, unfinished | failures, frozen))
    return out / "compare.html"
