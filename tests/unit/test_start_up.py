"""Phases of a run's start add up, end with the first step, and are in the run's summary."""

import json
import time
from pathlib import Path

import pytest

from semisonic import cli, start_up
from semisonic.start_up import StartClock, Took, process_age
from tests.support.runs import QUICK


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """What the clocks say, one after the other."""
    left: list[tuple[float, float]] = []
    monkeypatch.setattr(start_up, "_now", lambda: Took(*left.pop(0)))
    return left


def test_a_phase_ends_where_it_is_marked_and_what_comes_twice_adds_up(times: list):
    times += [(10, 1), (12, 2), (13, 2.5), (17, 5), (18, 5), (30, 9)]
    clock = StartClock()
    clock.mark("imports")
    clock.mark("data")
    clock.mark("imports")
    clock.leave_out()
    clock.mark("first step", last=True)
    assert clock.phases == {"imports": (6, 3.5), "data": (1, 0.5), "first step": (12, 4)}
    assert clock.seconds == 19 and not times
    clock.mark("first step", last=True)  # of the second step: it looks at no clock
    assert clock.report()["first step"] == {"seconds": 12, "cpu_seconds": 4}


def test_what_comes_once_later_is_timed_by_itself(times: list):
    times += [(0, 0), (1, 1), (5, 2), (7, 3)]
    clock = StartClock()
    with clock.once("first checkpoint"):  # before the first step it is a part of another phase
        pass
    clock.mark("first step", last=True)
    for _ in range(2):
        with clock.once("first checkpoint"):
            pass
    assert clock.phases == {"first step": (1, 1), "first checkpoint": (2, 1)} and not times


def test_the_age_of_the_process_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = process_age()
    time.sleep(0.05)
    assert 0.03 < process_age() - before < 5 and before < 1e5
    assert StartClock(of_process=True).phases["process"].seconds >= before
    monkeypatch.setattr(start_up, "STAT", tmp_path / "none")
    assert process_age() == 0


def test_a_run_s_summary_has_its_start(tmp_path: Path):
    fields = [*QUICK, "--steps", "2", "--no-baseline", "--log.trackers", "none", "--eval.every", "2"]
    assert cli.main([*fields, "--out", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "summary.json").read_text())["start_up"]
    # Without the process's own: in this one, the tests were there before.
    assert list(found) == ["imports", "configuration", "ranks", "data", "trial step", "run folder", "network", "pipelines",
                           "first batch", "first step", "first checkpoint"]  # fmt: skip
    assert all(took.keys() == {"seconds", "cpu_seconds"} and took["seconds"] >= 0 for took in found.values())
    assert found["trial step"]["seconds"] > 0.001 and found["first step"]["seconds"] > 0.001
