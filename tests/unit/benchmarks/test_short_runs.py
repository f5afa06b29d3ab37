"""The averages that are kept beside a run are those that runs with such a rule have, and what a file has is kept."""

import json
from pathlib import Path

import pytest

import measure
import short_runs
from semisonic.training.trainer import Trainer

TINY = ["--data", "digits", "--root", "", "--steps", "3", "--seeds", "0", "--images", "20"]
pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def test_cells_are_added_to_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "cells.json"
    result = short_runs.run(short_runs.parse([*TINY, "--out", str(file)]))
    assert json.loads(file.read_text())["cells"] == result["cells"]
    assert [(cell["steps"], cell["seed"], cell["rule"]) for cell in result["cells"]] == [(3, 0, "none"), (3, 0, "10")]
    assert all(0 <= cell[weights] <= 100 for cell in result["cells"] for weights in ("ema", "raw"))
    monkeypatch.setattr(short_runs, "cell", lambda *_: {"none": {"ema": 0.0}, "20": {"ema": 1.0}})
    again = short_runs.run(short_runs.parse([*TINY, "--windows", "10", "20", "--out", str(file)]))
    assert again["cells"][:2] == result["cells"] and [cell["rule"] for cell in again["cells"][2:]] == ["20"]


def test_averages_that_are_not_the_run_s_are_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Trainer, "evaluate", lambda *_: pytest.fail("evaluated"))
    monkeypatch.setattr(short_runs, "ema_decay", lambda *_: 0.5)
    with pytest.raises(measure.Failed, match=r"differs by .* from the run's own"):
        short_runs.cell(short_runs.parse(TINY), 3, 0, [10.0])
