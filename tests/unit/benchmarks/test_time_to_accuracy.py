"""When a target is met, what is chosen on which seeds, and that cells are made once."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import measure
import time_to_accuracy as bench
from time_to_accuracy import Cell, choice_of, make_all, met, reached


def cell(
    arm: str, recipe: str, seed: int, errors: list[int], pace: float = 1.0, task: str = "digits"
) -> dict[str, Any]:
    """One of 100 test images, so that errors are per cent."""
    clock = [pace * (number + 1) for number in range(len(errors))]
    steps = list(range(1, len(errors) + 1))
    return Cell(task, arm, recipe, seed).key | {
        "start_up": 1.0, "steps": steps, "seconds": clock, "cpu_seconds": clock, "errors": errors, "images": 100,
    }  # fmt: skip


def test_a_target_is_met_from_where_on_every_test_agrees():
    runs = [cell("engine", "800 steps, cosine", seed, [9, 2, 2, 2, 9, 2, 2, 2 + seed % 2, 2]) for seed in range(5)]
    found = met(runs, 3.5)
    assert found["step"] == 8, "the target was passed and lost again"
    assert found["seconds"] == [8.0] * 5 and found["p_when_met"] < 0.01 and found["error"] == pytest.approx(32 / 15)
    noisy = [cell("engine", "800 steps, cosine", seed, [3 + 3 * (seed % 2)] * 5) for seed in range(5)]
    assert met(noisy, 4.5)["seconds"] is None and met(noisy, 4.5)["p"] > 0.01


def test_the_best_recipe_has_the_least_cost_to_where_the_target_holds():
    def runs(arm: str, recipe: str, errors: list[int], pace: float = 1.0) -> list[dict[str, Any]]:
        return [cell(arm, recipe, seed, errors, pace) for seed in bench.CHOOSING]

    fast = runs("engine", "800 steps, cosine, separate", [9, 4, 2, 2, 2, 2], 0.5)
    known = runs("engine", "1600 steps of 16 + 112, cosine", [9, 4, 2, 2, 2, 2])
    lost = runs("engine", "800 steps, cosine", [2, 2, 2, 9, 9, 9], 0.1)
    quick = runs("tensors", "800 steps, cosine", [9, 4, 2, 2, 2, 2])
    few = runs("tensors", "1000 steps of 16 + 112, cosine", [9, 9, 4, 2, 2, 2])
    assert reached(fast, 3.5) == 3 and reached(lost, 3.5) is None
    found = choice_of([*fast, *known, *lost, *quick, *few], "digits")
    assert found["target"] == 3.5 and found["same"] == "1600 steps of 16 + 112, cosine"
    assert found["best"] == {
        "engine": "800 steps, cosine, separate",
        "tensors": "800 steps, cosine",
        "conventional": "1000 steps of 16 + 112, cosine",  # 5 steps of 128 images, in place of 4 of 256
    }
    assert found["tried"]["engine"]["800 steps, cosine"]["cpu_seconds"] is None
    measured = [cell("engine", "800 steps, cosine", seed, [2] * 6) for seed in range(5)]
    assert choice_of([*fast, *known, *lost, *quick, *few, *measured], "digits") == found


def test_what_varies_over_the_seeds_is_not_chosen():
    """Five seeds of this spread would not show that the target is met."""
    assert stats.t.ppf(0.99, 4) / math.sqrt(5) == pytest.approx(bench.NEEDED, abs=0.05)
    runs = [cell("engine", "800 steps, cosine", seed, [2 + number] * 4) for number, seed in enumerate(bench.CHOOSING)]
    assert reached(runs, 3.5) is None and reached(runs, 4.7) == 2
    assert bench.cheapest({"a": {"x": None, "errors": [3]}, "b": {"x": None, "errors": [2]}}, "x") == "b"


def test_a_target_of_its_own_is_above_what_the_engine_ends_with():
    first = bench.CANDIDATES["fashion"]["engine"][0]
    runs = [
        cell(arm, first, seed, [29 + number] * 4, task="fashion")
        for arm in ("engine", "tensors")
        for number, seed in enumerate(bench.CHOOSING)
    ]
    assert choice_of(runs, "fashion")["target"] == 32  # the mean 30, and two deviations of 1


def test_every_recipe_resolves_and_those_of_all_loops_have_nothing_that_one_lacks(tmp_path: Path):
    for recipe in bench.TASKS["digits"].recipes:
        cfg = Cell("digits", "engine", recipe, 3).configuration(str(tmp_path))
        assert (cfg.seed, cfg.precision, cfg.execution.threads, cfg.data.labels) == (3, "fp32", 1, 40)
        if recipe in bench.CANDIDATES["digits"]["tensors"]:
            assert (cfg.algorithm.weak_pass, cfg.model.norm_start_up, cfg.ema.start_up) == ("joint", 0, "tf")
    assert all(set(arms["tensors"]) < set(arms["engine"]) for arms in bench.CANDIDATES.values())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    cells: list[Cell] = []

    def make(own: Cell) -> dict[str, Any]:
        cells.append(own)
        pace = {"engine": 1.0, "conventional": 4.0, "tensors": 2.0}[own.arm]
        return cell(own.arm, own.recipe, own.seed, [9, 2, 2, 2 + own.seed % 2], pace)

    monkeypatch.setattr(Cell, "made", make)
    return cells


def test_cells_are_made_once_and_the_summary_has_all_three_parts(tmp_path: Path, made: list[Cell], capfd):
    argv = ["--tasks", "digits", "--processes", "1", "--choice", str(tmp_path / "choice.json")]
    assert bench.main([*argv, "--choose"]) == 0
    assert {own.seed for own in made} == set(bench.CHOOSING)
    assert made[0].arm == "engine" and [own.seed for own in made] == sorted(own.seed for own in made)
    choice = json.loads((tmp_path / "choice.json").read_text())["tasks"]["digits"]
    made.clear()
    out = tmp_path / "out.json"
    assert bench.main([*argv, "--out", str(out)]) == 0
    best = choice["best"].items()
    assert len(made) == 5 * len({("engine", choice["same"]), ("conventional", choice["same"]), *best})
    found = json.loads(out.read_text())["tasks"]["digits"]
    assert [row["part"] for row in found["rows"] if row["arm"] == "tensors"] == ["iii"]
    assert found["ratios"]["(i) conventional / engine"]["median"] == 4.0
    assert found["ratios"]["(iii) tensors / engine"]["median"] == 2.0
    made.clear()
    assert bench.main([*argv, "--out", str(out)]) == 0 and not made
    printed = capfd.readouterr().out
    assert "digits: 3.5 % error" in printed and "(chosen)" in printed and "not met" not in printed


def test_without_a_choice_nothing_is_measured(tmp_path: Path, made: list[Cell], capfd):
    argv = ["--tasks", "digits", "--choice", str(tmp_path / "none.json"), "--out", str(tmp_path / "out.json")]
    assert bench.main(argv) == 2 and not made
    assert "nothing was chosen for digits; run it with --choose first" in capfd.readouterr().err
    assert measure.Mistake(["x"]).lines == ["x"]


@dataclass(frozen=True)
class Place:
    """In place of a training: where it would run."""

    number: int

    def made(self) -> dict[str, Any]:
        return {"number": self.number, "cores": sorted(os.sched_getaffinity(0))}


@pytest.mark.slow
def test_a_training_has_a_core_of_its_own():
    before, found = os.sched_getaffinity(0), []
    make_all([Place(number) for number in range(6)], 2, found.append)  # type: ignore[list-item]
    assert sorted(entry["number"] for entry in found) == list(range(6))
    assert all(len(entry["cores"]) == 1 for entry in found) and os.sched_getaffinity(0) == before
