"""The rows of a comparison's report, from the files of its runs alone: summary.json, metrics.jsonl, config.yaml
(status.json for runs without a summary)."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semisonic.algorithms.registry import BASELINE
from semisonic.compare.jobs import label, parse_folder
from semisonic.config.migrations import read_saved
from semisonic.records import schemas
from semisonic.reporting.metrics_file import read_metrics
from semisonic.runs.run_folder import read_status
from semisonic.training.class_groups import FIGURES, GROUPS

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
    def tested(self) -> bool:
        """Whether it has finished, with test images: another run can be compared with nothing."""
        return self.summary is not None and self.summary["test_top1"] is not None

    @property
    def error(self) -> float:
        """Test error of the EMA network at the last step, in percent."""
        assert self.summary is not None
        return 100 - self.summary["test_top1"]

    @property
    def median_error(self) -> float | None:
        """Of the last 20 evaluations; None where the run has fewer past its ramps."""
        assert self.summary is not None
        median = self.summary["test_top1_last20_median"]
        return None if median is None else 100 - median

    def series(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_metrics(self.folder / "metrics.jsonl")


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
    median_error: Estimate | None
    """None where a run has none."""
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
    balanced_error: Estimate | None = None
    """100 less the mean recall of the classes; None where all have as many images, or a run does not tell."""
    group_errors: dict[str, Estimate] = field(default_factory=dict)
    """100 less the mean recall of the classes with many, medium and few labels, likewise."""

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
                *parsed, folder, read_saved(folder).fields,
                schemas.summary(finished) if finished.is_file() else None, read_status(folder),
            )
        )  # fmt: skip
    return runs


def entry_order(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """The entries as the command line has them, or supervised first; then others that the folder holds."""
    found = sorted({run.entry for run in runs}, key=lambda name: (name != BASELINE, name))
    return [name for name in names if name in found] + [name for name in found if name not in names]


def label_order(labels: str) -> float:
    """Of numbers of labels as names of runs have them; those by class counts by the first class's."""
    return math.inf if labels == "all" else int(labels.partition("to")[0])


def rows_of(runs: Sequence[Run], entries: Sequence[str]) -> list[Row]:
    """A row for each number of labels and entry that has a finished run."""
    finished = [run for run in runs if run.tested]
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
    medians = [run.median_error for run in runs if run.median_error is not None]
    used = [found for summary in summaries if (found := summary.get("pseudo_labels")) is not None]

    supervised, by_class = _seconds(other for _, other in pairs), by_class_of(summaries)

    def mean(name: str) -> float | None:
        values = [metrics[name] for metrics in used if metrics.get(name) is not None]
        return statistics.fmean(values) if values else None

    return Row(
        entry, labels, runs,
        error=interval([run.error for run in runs]),
        median_error=interval(medians) if len(medians) == len(runs) else None,
        against=interval([run.error - other.error for run, other in pairs]) if pairs else None,
        seconds=statistics.fmean(summary["wall_seconds"] for summary in summaries),
        relative_time=_seconds(run for run, _ in pairs) / supervised if supervised else None,
        images_per_second=statistics.fmean(summary["images_per_second"] for summary in summaries),
        coverage=mean("coverage"), precision=mean("pseudo_label_precision"),
        collapsed=sum(bool(metrics.get("collapsed_classes")) for metrics in used),
        balanced_error=by_class.get("balanced"),
        group_errors={name: by_class[name] for name in GROUPS if name in by_class},
    )  # fmt: skip


def by_class_of(summaries: Sequence[dict[str, Any]]) -> dict[str, Estimate]:
    """Errors of what a majority class cannot carry, by the names of `class_groups.FIGURES`, as far as all runs tell."""
    found = [summary.get("test_by_class") or {} for summary in summaries]
    return {name: interval([100 - own[name] for own in found]) for name in FIGURES if all(name in own for own in found)}


def _seconds(runs: Any) -> float:
    return sum(run.summary["wall_seconds"] for run in runs)


def notes_of(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before comparing: runs that differ in more than algorithm, labels and seed."""
    fields: dict[str, Callable[[Run], Any]] = {
        "steps": lambda run: run.cfg["steps"],
        "data sets": lambda run: run.cfg["data"]["name"],
        "models": lambda run: run.cfg["model"]["name"],
        "global batches": lambda run: _batch(**run.cfg["batch"]),
        "precision": lambda run: run.cfg["precision"],
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


def _batch(labeled: int, unlabeled_ratio: float, unlabeled_schedule: str = "constant", **others: Any) -> str:
    """Images of a step, as text."""
    return f"{labeled} x (1 + {unlabeled_ratio}{', growing' if unlabeled_schedule == 'growing' else ''})"


# As text.

COLUMNS = ("labels", "entry", "runs", "error %", "last-20 %", "vs supervised", "time", "x sup.", "images/s",
           "coverage %", "precision %")  # fmt: skip
BY_CLASS = ("balanced %", "many/medium/few %")
"""Errors in further columns, where the classes of a run have different numbers of images."""


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of a table of these rows."""
    return (*COLUMNS, *BY_CLASS) if any(row.balanced_error for row in rows) else COLUMNS


def cells(row: Row) -> list[str]:
    """A row of the table, as text: of all columns, also those that `columns_of` leaves out at the end."""
    against = "" if row.against is None else row.against.text(sign=True)
    median = "" if row.median_error is None else row.median_error.text()
    share = ["" if value is None else f"{100 * value:.1f}" for value in (row.coverage, row.precision)]
    return [
        row.labels, label(row.entry), str(len(row.runs)), row.error.text(), median, against,
        f"{row.seconds:.0f} s", "" if row.relative_time is None else f"{row.relative_time:.2f}",
        f"{row.images_per_second:,.0f}", *share, "" if row.balanced_error is None else row.balanced_error.text(),
        " / ".join(error.text(1) for error in row.group_errors.values()),
    ]  # fmt: skip
