"""The audit's interval on stored predictions of real runs, and on two networks that lie about their certainty."""

import json
from pathlib import Path

import numpy as np
import pytest

import audit_coverage
from semisonic.curation import audit
from tests.support.processes import ROOT

PREDICTIONS = audit_coverage.stored()
RESULTS = ROOT / "benchmarks/results/audit-coverage.json"
INFORMED = {"fashion-40", "digits-4"}
"""Runs in which up to 95 % are right and whose certainty tells what is doubtful. Of fashion-10 it does not."""


@pytest.fixture
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the posterior, for as much time as a test has."""
    monkeypatch.setattr(audit, "DRAWS", 1_000)
    monkeypatch.setattr(audit_coverage, "surest_part", lambda *_: None)


def test_the_predictions_are_of_five_runs_and_two_liars():
    shares = {name: right.mean() for name, (_, right) in PREDICTIONS.items()}
    assert len(shares) == 7 and min(shares.values()) == pytest.approx(0.74, abs=0.01)
    assert max(shares.values()) == pytest.approx(0.99, abs=0.01)
    assert all(len(np.unique(PREDICTIONS[name][0])) == 1 for name in audit_coverage.LIARS)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_interval_of_100_looks_holds_the_truth(name: str, fewer_draws: None):
    one = audit_coverage.cell(*PREDICTIONS[name], looks=100, repeats=100)
    assert one["method"] == "stratified" and one["coverage"] >= 0.89  # 0.91 less two standard errors of 100 audits
    assert name not in INFORMED or one["half_width"] <= 0.8 * one["wilson_half_width"]


@pytest.mark.parametrize("name", ["digits-40", "liar-0.60"])
def test_fewer_looks_are_simply_random(name: str):
    one = audit_coverage.cell(*PREDICTIONS[name], looks=50, repeats=100)
    assert one["method"] == "simple" and one["coverage"] >= 0.93


def test_cells_are_kept_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fewer_draws: None):
    monkeypatch.setattr(audit_coverage, "stored", lambda *_: {"digits-4": PREDICTIONS["digits-4"]})
    arguments = ["--repeats", "3", "--looks", "20", "--draws", "1000", "--out", str(tmp_path / "cells.json")]
    first = audit_coverage.run(audit_coverage.parse(arguments))
    monkeypatch.setattr(audit_coverage, "cell", lambda *_: pytest.fail("made again"))
    assert audit_coverage.run(audit_coverage.parse(arguments))["cells"] == first["cells"]
    audit_coverage.show(first)


def test_the_stored_coverage_is_what_is_promised():
    cells = json.loads(RESULTS.read_text())["cells"]
    assert {(one["predictions"], one["looks"]) for one in cells} >= {(n, k) for n in PREDICTIONS for k in (100, 400)}
    for one in cells:
        assert one["repeats"] == 1_000 and one["coverage"] >= 0.91, one
        assert one["method"] == ("simple" if one["looks"] < 100 else "stratified")
        assert one["accepted_below"] <= 0.05, "what is accepted is as good as asked"
        if one["looks"] == 100 and one["predictions"] in INFORMED:
            assert one["half_width"] <= 0.8 * one["wilson_half_width"]


@pytest.mark.long
@pytest.mark.parametrize("looks", [100, 400])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_interval_holds_the_truth_in_a_thousand_audits(name: str, looks: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit_coverage, "surest_part", lambda *_: None)
    one = audit_coverage.cell(*PREDICTIONS[name], looks=looks, repeats=1_000)
    assert one["coverage"] >= 0.91
    assert looks > 100 or name not in INFORMED or one["half_width"] <= 0.8 * one["wilson_half_width"]
