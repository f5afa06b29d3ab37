"""A summary names what the run was, and has a median of the last 20 evaluations where 20 are past the ramps."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from semisonic.data.loading.sizes import Sizes
from semisonic.runs.summary import LAST, past_ramps, speed_of
from tests.support.command_line import config


def test_a_summary_says_what_the_run_was(run: Path):
    for folder, algorithm in ((run, "fixmatch"), (run / "supervised", "supervised")):
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["data"] == {"name": "digits", "root": None} and summary["seed"] == 0
        assert summary["network"] == "small" and summary["algorithm"] == algorithm
        assert summary["folder"] == str(folder)


def test_with_fewer_than_20_evaluations_there_is_no_median(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["test_top1_last20_median"] is None and summary["evaluations_past_ramps"] == 3


def history(steps: int, every: int) -> list[dict[str, float]]:
    return [{"step": step, "test/top1": float(step)} for step in range(every, steps + 1, every)]


@pytest.mark.parametrize("fields, count", [
    (["--algorithm", "fixmatch"], 60),
    (["--algorithm", "mean-teacher", "--algorithm.ramp", "0.5"], 31),
    (["--algorithm", "mean-teacher", "--algorithm.ramp", "500"], 11),
    (["--algorithm", "fixmatch", "--optim.warm-up", "100", "--optim.wait", "50"], 46),
])  # fmt: skip
def test_evaluations_while_a_ramp_lasts_do_not_count(fields: list[str], count: int):
    cfg = config("--steps", 600, *fields)
    found = past_ramps(history(600, 10), cfg)
    assert found == [float(step) for step in range(610 - 10 * count, 610, 10)]


@pytest.mark.parametrize(
    "algorithm", ["supervised", "fixmatch", "mixmatch", "remixmatch", "mean-teacher", "mpl", "vat"]
)
def test_the_quick_recipe_of_the_digits_has_its_median(algorithm: str):
    cfg = config("--algorithm", algorithm)
    assert len(past_ramps(history(cfg.steps, cfg.eval.every), cfg)) >= LAST


def test_a_run_whose_readings_are_lost_has_the_speed_of_its_whole_time():
    trainer = SimpleNamespace(images=Sizes.constant(24), step=100, elapsed=60.0)
    readings = [{"images_per_second": speed, "data_wait": 0.25} for speed in (10.0, 50.0, 60.0)]
    assert speed_of(readings, trainer) == {"images_per_second": 50.0, "data_wait": 0.25}
    assert speed_of([], trainer) == {"images_per_second": 40.0, "data_wait": None}
