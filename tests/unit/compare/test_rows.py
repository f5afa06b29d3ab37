"""Rows of the report pair the seeds, have intervals of confidence, and note where runs differ."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from semisonic.compare.jobs import Entry, make_jobs
from semisonic.compare.page import page
from semisonic.compare.report import row_record, run_record
from semisonic.compare.rows import COLUMNS, cells, columns_of, discover, interval, notes_of, rows_of
from semisonic.schema import UserError
from tests.support.comparisons import fabricate


def test_intervals_are_student_s():
    assert interval([3.0]).half is None and interval([3.0]).mean == 3.0
    known = interval([1.0, 2.0, 3.0])  # t(2, 0.975) = 4.302653
    assert known.mean == 2.0 and known.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    ten = interval([float(value) for value in range(10)])  # t(9, 0.975) = 2.262157
    assert ten.half == pytest.approx(2.262157 * math.sqrt(55 / 6) / math.sqrt(10), rel=1e-6)
    assert (
        interval([5.0, 5.0]).half == 0 and known.text() == "2.00 ± 2.48" and known.text(sign=True).startswith("+2.00")
    )


def test_rows_pair_the_seeds(comparison: Path):
    runs = discover(comparison)
    rows = {row.entry: row for row in rows_of(runs, ["supervised", "fixmatch", "fixmatch:threshold=0.5"])}
    assert (
        rows["supervised"].against is None
        and rows["supervised"].relative_time is None
        and len(rows["supervised"].runs) == 3
    )
    row = rows["fixmatch"]
    assert row.error.mean == pytest.approx(100 - 92) and row.median_error.mean == pytest.approx(8.5)
    differences = [-10.0, -9.0, -11.0]
    assert row.against is not None and row.against.mean == pytest.approx(-10)
    assert row.against.half == pytest.approx(4.302653 * np.std(differences, ddof=1) / math.sqrt(3), rel=1e-6)
    assert (
        row.better
        and row.relative_time == pytest.approx(3)
        and row.collapsed == 2
        and row.precision == pytest.approx(0.9)
    )
    alone = rows["fixmatch:threshold=0.5"]
    assert alone.against is not None and alone.against.half is None and alone.against.mean == -15 and not alone.better


def test_the_report_says_where_runs_differ(comparison: Path):
    path = comparison / "runs" / "fixmatch-40-seed0" / "config.yaml"
    cfg = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**cfg, "steps": cfg["steps"] + 1}))
    found = notes_of(discover(comparison))
    assert found == ["The runs differ in steps (600: fixmatch (threshold=0.5), fixmatch, supervised; 601: fixmatch)"]
    batch = {**cfg["batch"], "unlabeled_schedule": "growing"}
    path.write_text(yaml.safe_dump({**cfg, "batch": batch, "precision": "bf16"}))
    others = "fixmatch (threshold=0.5), fixmatch, supervised"
    assert notes_of(discover(comparison)) == [
        f"The runs differ in global batches (32 x (1 + 7): {others}; 32 x (1 + 7, growing): fixmatch)",
        f"The runs differ in precision (fp32: {others}; bf16: fixmatch)",
    ]


def test_a_row_has_a_median_where_each_of_its_runs_has_one(comparison: Path):
    path = comparison / "runs" / "fixmatch-40-seed1" / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_top1_last20_median": None}))
    rows = {row.entry: row for row in rows_of(discover(comparison), ["supervised", "fixmatch"])}
    assert rows["supervised"].median_error is not None and rows["fixmatch"].median_error is None
    at = COLUMNS.index("last-20 %")
    assert cells(rows["fixmatch"])[at] == "" and cells(rows["supervised"])[at] != ""
    assert row_record(rows["fixmatch"])["last20_error"] == ""
    assert [run_record(run)["last20_error"] for run in rows["fixmatch"].runs] == ["10.5", "", "7.5"]
    assert "fixmatch" in page(list(rows.values()), [], {})


def test_recalls_of_uneven_runs_have_columns_of_their_own(tmp_path: Path):
    for seed, (balanced, few) in enumerate([(60.0, 20.0), (64.0, 30.0)]):
        argv = ("--algorithm=supervised", "--no-baseline", "--data.labels-head=50", "--data.imbalance=50")
        made = make_jobs([(Entry("supervised", "supervised", {}), "", seed, argv)], tmp_path, 1)[0]
        assert made.labels == "50to1"
        by_class = {"balanced": balanced, "gm": 40.0, "many": 90.0, "medium": 70.0, "few": few}
        fabricate(made, top1=80.0 + seed, test_by_class=by_class)
    runs = discover(tmp_path)
    row = rows_of(runs, ["supervised"])[0]
    assert row.balanced_error.mean == 38 and row.group_errors["few"].mean == 75
    assert columns_of([row])[: len(COLUMNS)] == COLUMNS
    line = dict(zip(columns_of([row]), cells(row), strict=True))
    assert line["labels"] == "50to1" and line["balanced %"] == row.balanced_error.text()
    assert line["many/medium/few %"].startswith("10.0 ± 0.0 / 30.0 ± 0.0 / 75.0 ±")
    assert row_record(row)["few_error"] == "75" and run_record(runs[0])["gm_recall"] == "40"
    assert "many/medium/few" in page([row], [], {})


def test_labels_and_a_split_by_class_counts_do_not_go_together(tmp_path: Path):
    entry = Entry("supervised", "supervised", {})
    with pytest.raises(UserError, match=r"--labels: data\.labels_head sets the labels"):
        make_jobs([(entry, "40", 0, ("--algorithm=supervised", "--data.labels-head=50"))], tmp_path, 1)
