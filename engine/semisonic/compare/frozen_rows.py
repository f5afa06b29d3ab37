"""Rows of the baselines on frozen features, beside the methods': one for each number of labels, over seeds.

Every run from the same weights with the same labels and seed has found the same, so it counts once, whatever the method
it has trained.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semisonic.algorithms.registry import BASELINE
from semisonic.compare.rows import Estimate, Run, interval, label_order
from semisonic.reporting.frozen_baselines import NAMES, full_name
from semisonic.text import printable


@dataclass(frozen=True)
class FrozenRow:
    """A baseline with one number of labels, over its seeds. Errors and their differences in percent."""

    name: str
    labels: str
    count: int
    """Seeds."""
    error: Estimate
    against: Estimate | None
    """Error less that of the supervised runs of the same seeds; None where there are none."""
    seconds: float
    """With those of the features where they were not kept from before, mean over seeds."""
    precision: float | None
    """Of the pseudo-labels it ends with, where it makes some: a share."""

    @property
    def better(self) -> bool:
        """Whether the interval of the difference lies below zero."""
        return self.against is not None and self.against.half is not None and self.against.mean < -self.against.half


Found = dict[int, dict[str, Any]]
"""Seed -> what summary.json has as `frozen`."""


def frozen_rows(runs: Sequence[Run]) -> list[FrozenRow]:
    """Those of finished runs, by labels; with several weights to start from, a row for each."""
    tested = [run for run in runs if run.tested]
    rows = []
    for labels in sorted({run.labels for run in tested}, key=label_order):
        here = [run for run in tested if run.labels == labels]
        supervised = {run.seed: run.error for run in here if run.entry == BASELINE}
        found = by_weights(here)
        for weights, by_seed in found.items():
            for name in NAMES:
                own = {seed: entry for seed, entry in by_seed.items() if "test_top1" in entry.get(name, {})}
                if own:
                    title = full_name(name) if len(found) == 1 else f"{full_name(name)[:-1]} of {printable(weights)})"
                    rows.append(_row(title, name, labels, own, supervised))
    return rows


def by_weights(runs: Sequence[Run]) -> dict[str, Found]:
    """The weights that runs start from -> the first report of each seed."""
    found: dict[str, Found] = {}
    for run in runs:
        if run.summary is not None and (report := run.summary.get("frozen")):
            found.setdefault(f"{report['network']}, {report['weights']}", {}).setdefault(run.seed, report)
    return found


def _row(title: str, name: str, labels: str, found: Found, supervised: dict[int, float]) -> FrozenRow:
    errors = {seed: 100 - entry[name]["test_top1"] for seed, entry in sorted(found.items())}
    pairs = [error - supervised[seed] for seed, error in errors.items() if seed in supervised]
    last = [
        rounds[-1]
        for entry in found.values()
        if (rounds := entry[name].get("pseudo_label_precision")) and rounds[-1] is not None
    ]
    return FrozenRow(
        title, labels, len(errors), interval(list(errors.values())), interval(pairs) if pairs else None,
        statistics.fmean(entry[name]["seconds"] + entry["features_seconds"] for entry in found.values()),
        statistics.fmean(last) / 100 if last else None,
    )  # fmt: skip


def frozen_cells(row: FrozenRow) -> list[str]:
    """As `rows.cells`; what only a training has is empty."""
    precision = "" if row.precision is None else f"{100 * row.precision:.1f}"
    return [
        row.labels, row.name, str(row.count), row.error.text(), "",
        "" if row.against is None else row.against.text(sign=True), f"{row.seconds:.0f} s", "", "", "", precision,
        "", "",
    ]  # fmt: skip


def frozen_record(row: FrozenRow) -> dict[str, Any]:
    """As `report.row_record`, without its entries that only a training has."""
    against = row.against or Estimate(float("nan"), None, 0)
    return {
        "labels": row.labels, "entry": row.name, "runs": row.count,
        "error": row.error.mean, "error_half_width": row.error.half,
        "against_supervised": against.mean, "against_supervised_half_width": against.half, "pairs": against.count,
        "seconds": row.seconds, "pseudo_label_precision": row.precision,
    }  # fmt: skip
