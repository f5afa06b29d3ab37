"""The baselines on frozen features stand beside the methods, once for each seed."""

import csv
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from semisonic.compare.frozen_rows import frozen_rows
from semisonic.compare.jobs import make_jobs, parse_entries
from semisonic.compare.report import write_report
from semisonic.compare.rows import discover
from tests.support.comparisons import fabricate, lines


def report(top1: float, weights: str = "/a/run") -> dict[str, Any]:
    return {
        "network": "small", "weights": weights, "features_seconds": 3.0,
        "neighbors": {"test_top1": top1, "seconds": 1.0}, "logistic": {"error": "ValueError: no", "seconds": 1.0},
        "self_training": {"test_top1": top1 + 2, "seconds": 2.0, "pseudo_label_precision": [90.0, 80.0]},
    }  # fmt: skip


@pytest.fixture
def from_weights(tmp_path: Path) -> Path:
    """Two methods with two seeds each, from the same weights."""
    for name, values in {"supervised": (80.0, 84.0), "fixmatch": (90.0, 93.0)}.items():
        entry = parse_entries(name)[0][0]
        for seed, top1 in enumerate(values):
            argv = (f"--algorithm={entry.algorithm}", "--no-baseline")
            made = make_jobs([(entry, "40", seed, argv)], tmp_path, 1)[0]
            fabricate(made, top1=top1, lines=lines(top1, False), frozen=report(70.0 + 4 * seed))
    return tmp_path


def test_a_seed_counts_once_whatever_the_methods(from_weights: Path):
    neighbors, self_training = frozen_rows(discover(from_weights))
    assert (neighbors.name, neighbors.labels, neighbors.count) == ("nearest neighbors (frozen features)", "40", 2)
    assert neighbors.error.mean == 28 and neighbors.error.half == pytest.approx(12.706 * 2, rel=1e-3)
    assert neighbors.against is not None and neighbors.against.mean == 10  # (30 - 20, 26 - 16)
    assert neighbors.seconds == 4 and neighbors.precision is None
    assert self_training.error.mean == 26 and self_training.precision == pytest.approx(0.8)


def test_they_are_in_the_table_the_page_and_the_csv(from_weights: Path, capfd: pytest.CaptureFixture[str]):
    write_report(from_weights, ["supervised", "fixmatch"], Console(width=200), {})
    printed = [line.split() for line in capfd.readouterr().out.splitlines() if line.strip().startswith("40")]
    assert [line[1] for line in printed] == ["nearest", "self-training", "supervised", "fixmatch"]
    page = (from_weights / "compare.html").read_text()
    assert page.count("nearest neighbors (frozen features)") == 1 and "28.00 ± 25.41" in page
    with (from_weights / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["entry"] for row in table] == [
        "supervised", "fixmatch", "nearest neighbors (frozen features)", "self-training (frozen features)",
    ]  # fmt: skip
    assert table[2]["error"] == "28" and table[2]["runs"] == "2" and table[2]["images_per_second"] == ""


def test_of_several_weights_each_has_its_rows(from_weights: Path):
    entry = parse_entries("fixmatch:threshold=0.5")[0][0]
    argv = ("--algorithm=fixmatch", "--no-baseline", "--algorithm.threshold=0.5")
    made = make_jobs([(entry, "40", 0, argv)], from_weights, 1)[0]
    fabricate(made, top1=90.0, frozen=report(50.0, "/b/run"))
    names = [row.name for row in frozen_rows(discover(from_weights))]
    assert len(names) == 4 and "nearest neighbors (frozen features of small, /b/run)" in names


def test_runs_without_them_have_no_such_rows(comparison: Path):
    assert frozen_rows(discover(comparison)) == []
