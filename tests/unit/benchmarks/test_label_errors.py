"""What finds wrong given labels: the margins of the run, also where the finished network has memorized them."""

import json
from pathlib import Path

import pytest

import label_errors

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def test_cells_are_added_to_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[tuple[int, int]] = []

    def cell(steps: int, seed: int, threads: int) -> dict:
        made.append((steps, seed))
        return {"steps": steps, "seed": seed}

    monkeypatch.setattr(label_errors, "cell", cell)
    file = tmp_path / "cells.json"
    for seeds in (["2"], ["1", "2"]):
        label_errors.run(label_errors.parse(["--steps", "9", "3", "--seeds", *seeds, "--out", str(file)]))
    assert made == [(9, 2), (3, 2), (9, 1), (3, 1)]
    stored = [(entry["steps"], entry["seed"]) for entry in json.loads(file.read_text())["cells"]]
    assert stored == [(3, 1), (3, 2), (9, 1), (9, 2)]


@pytest.mark.long
def test_margins_find_wrong_labels():
    """Digits, 40 a class, one label in ten wrong: the wrong ones have the smallest margins. A seed that chose nothing."""
    found = label_errors.cell(400, 11)
    print(found)
    assert found["wrong"] == 40 and found["aum: AP"] >= 0.95 and found["aum: precision"] >= 0.9
    assert found["aum: AP"] > found["self-confidence: AP"] > found["max-prob: AP"]


@pytest.mark.long
@pytest.mark.parametrize(("steps", "seed"), [(400, 12), (1600, 11), (1600, 12)])
def test_margins_find_labels_that_the_finished_network_repeats(steps: int, seed: int):
    found = label_errors.cell(steps, seed)
    print(found)
    assert found["aum: AP"] >= 0.95 and found["aum: precision"] >= 0.9
    if steps == 1600:
        assert found["memorized"] >= 0.8 and found["self-confidence: AP"] < 0.95
