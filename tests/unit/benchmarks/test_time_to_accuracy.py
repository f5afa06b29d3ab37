"""When a target is met, what is chosen on which seeds, and that cells are made once."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import measure
import time_to_accuracy as bench
from time_to_accuracy import Cell, choice_of, first_held, held, met, p_value, reached


def cell(
    arm: str, recipe: str, seed: int, errors: list[int], pace: float = 1.0, task: str = "digits"
) -> dict[str, Any]:
    """One of 100 test images, so that errors are per cent."""
    clock = [pace * (number + 1) for number in range(len(errors))]
    steps = list(range(1, len(errors) + 1))
    return Cell(task, arm, recipe, seed).key | {
        "start_up": 1.0, "steps": steps, "seconds": clock, "cpu_seconds": clock, "errors": errors, "images": 100,
    }  # fmt: skip


def test_an_error_is_held_over_three_evaluations():
    assert held([9, 6, 3, 0]) == [math.inf, math.inf, 6, 3]


def test_p_is_that_of_a_one_sided_t_test_over_seeds():
    errors = [2.5, 3.0, 2.75, 3.25, 2.5]
    assert p_value(errors, 3.5) == pytest.approx(stats.ttest_1samp(errors, 3.5, alternative="less").pvalue)
    assert p_value([2.0, 2.0], 3.5) == 0 and p_value([3.5, 3.5], 3.5) == 1
    assert p_value([1.0], 3.5) == 1, "one seed tells nothing"
    assert p_value([math.inf] * 3, 3.5) == 1


def test_a_target_is_met_from_where_on_every_test_agrees():
    assert first_held([True, False, True, True]) == 2 and first_held([True, False]) is None and first_held([]) is None
    runs = [cell("engine", "same", seed, [9, 2, 2, 2, 9, 2, 2, 2 + seed % 2, 2]) for seed in range(5)]
    found = met(runs, 3.5)
    assert found["step"] == 8, "the target was passed and lost again"
    assert found["seconds"] == [8.0] * 5 and found["p_when_met"] < 0.01 and found["error"] == pytest.approx(32 / 15)
    noisy = [cell("engine", "same", seed, [3 + 3 * (seed % 2)] * 5) for seed in range(5)]
    assert met(noisy, 4.5)["seconds"] is None and met(noisy, 4.5)["p"] > 0.01


def test_the_best_recipe_has_the_fewest_seconds_to_where_the_target_holds():
    fast = [cell("engine", "200 steps", seed, [9, 4, 2, 2, 2, 2], pace=0.5) for seed in bench.CHOOSING]
    lost = [cell("engine", "16 + 112", seed, [2, 2, 2, 9, 9, 9], pace=0.1) for seed in bench.CHOOSING]
    slow = [cell("tensors", "200 steps", seed, [2] * 6, pace=5) for seed in bench.CHOOSING]
    never = [cell("tensors", "16 + 112", seed, [5 - seed % 2] * 6, pace=1) for seed in bench.CHOOSING]
    assert reached(fast, 3.5) == 2.0 and math.isinf(reached(lost, 3.5))
    found = choice_of([*fast, *lost, *slow, *never], "digits")
    assert found["target"] == 3.5 and found["best"] == {"engine": "200 steps", "tensors": "200 steps"}
    assert found["tried"]["engine"]["16 + 112"]["cpu_seconds"] is None
    measured = [cell("engine", "200 steps", seed, [2] * 6) for seed in range(5)]
    assert choice_of([*fast, *measured], "digits")["tried"] == choice_of(fast, "digits")["tried"]


def test_a_target_of_its_own_is_above_what_the_engine_ends_with():
    runs = [
        cell("engine", "same", seed, [29 + number] * 4, task="fashion") for number, seed in enumerate(bench.CHOOSING)
    ]
    assert choice_of(runs, "fashion")["target"] == 32  # the mean 30, and two deviations of 1


def test_every_recipe_resolves_and_candidates_are_recipes(tmp_path: Path):
    for task in ("digits",):
        for recipe in bench.TASKS[task].recipes:
            cfg = Cell(task, "engine", recipe, 3).configuration(str(tmp_path))
            assert (cfg.seed, cfg.precision, cfg.execution.threads, cfg.data.labels) == (3, "fp32", 1, 40)
    for task, arms in bench.CANDIDATES.items():
        assert all(recipe in bench.TASKS[task].recipes for recipes in arms.values() for recipe in recipes)
        # What the loops' own layers have nothing of is not measured with them.
        assert not any("separate" in recipe for arm in ("conventional", "tensors") for recipe in arms[arm])


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
    assert len(made) == 5 * len({("engine", "same"), ("conventional", "same"), *best})
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
