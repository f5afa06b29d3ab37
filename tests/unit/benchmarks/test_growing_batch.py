"""Equal budgets: a growing batch passes no more images than the constant one, and a step more would."""

import json
from pathlib import Path

import pytest

import growing_batch

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")


def args(file: Path, *more: str):
    return growing_batch.parse(["--out", str(file), "--seeds", "0", "--images", "20", *more])


@pytest.mark.parametrize("law", growing_batch.LAWS)
def test_budgets_are_spent(tmp_path: Path, law: str):
    given = args(tmp_path / "cells.json", "--law", law)
    own = growing_batch.arms(given)
    whole = growing_batch.passes(growing_batch.configuration(given, [], 400, 0, "unused"))
    assert whole == 400 * (32 + 2 * 224)
    assert growing_batch.steps_within(given, own["constant"], whole) == 400
    steps = growing_batch.steps_within(given, own["growing"], whole)
    spent, more = (
        growing_batch.passes(growing_batch.configuration(given, own["growing"], count, 0, "unused"))
        for count in (steps, steps + 1)
    )
    assert steps > 400 and spent <= whole < more


def test_cells_are_added_to_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "cells.json"
    found = growing_batch.run(args(file, "--steps", "2", "--choose"))
    assert json.loads(file.read_text())["cells"] == found["cells"]
    assert [cell["arm"] for cell in found["cells"]] == list(growing_batch.LAWS)
    assert all(0 <= cell["ema"] <= 100 and cell["passes"] <= 960 for cell in found["cells"])
    monkeypatch.setattr(growing_batch, "cell", lambda *_: {"steps": 1, "passes": 1, "seconds": 1.0, "ema": 0, "raw": 0})
    again = growing_batch.run(args(file, "--steps", "2"))
    assert again["cells"][:3] == found["cells"] and len(again["cells"]) == 3 + 8
    growing_batch.show(again)
