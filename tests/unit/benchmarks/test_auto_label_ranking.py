"""What finds the wrong ones among auto-labels: their suspicion, better than the network's own probability."""

import json
from pathlib import Path

import pytest

import auto_label_ranking
from tests.support.processes import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")

STORED = ROOT / "benchmarks" / "results" / "auto-label-ranking-cpu.json"


def check(result: dict) -> None:
    """The top 10 % hold three quarters of the errors, and precision is above that of the largest probability."""
    mean = auto_label_ranking.means(result)
    assert mean["suspicion: found"] >= 0.75 and mean["suspicion: AP"] > mean["max-prob: AP"], mean


def test_stored_runs_find_wrong_labels():
    result = json.loads(STORED.read_text())
    assert [entry["seed"] for entry in result["cells"]] == auto_label_ranking.parse([]).seeds
    check(result)


def test_cells_are_added_to_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[int] = []

    def cell(steps: int, seed: int, threads: int) -> dict:
        made.append(seed)
        return {"steps": steps, "seed": seed}

    monkeypatch.setattr(auto_label_ranking, "cell", cell)
    file = tmp_path / "cells.json"
    for seeds in (["2"], ["1", "2"]):
        auto_label_ranking.run(auto_label_ranking.parse(["--steps", "9", "--seeds", *seeds, "--out", str(file)]))
    assert made == [2, 1]
    assert [entry["seed"] for entry in json.loads(file.read_text())["cells"]] == [1, 2]


@pytest.mark.long
def test_suspicion_finds_wrong_labels():
    """Digits, 4 a class, three seeds that chose nothing."""
    result = auto_label_ranking.run(auto_label_ranking.parse([]))
    auto_label_ranking.show(result)
    check(result)
