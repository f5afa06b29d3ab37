"""Schedules: their ends and middles, warm-up and wait, and that a compiled graph sees the same numbers as the host."""

import math

import pytest
import torch

from semisonic.optim.schedules import LEARNING_RATE, learning_rate


def rate(step: int, schedule: str, total: int = 100, warm_up: int = 0, wait: int = 0) -> float:
    return float(learning_rate(torch.tensor(step), 2.0, schedule, total, warm_up, wait))


def test_schedules_begin_at_the_peak_and_end_where_their_papers_say():
    assert all(rate(0, schedule) == 2 for schedule in LEARNING_RATE)
    assert rate(50, "fixmatch") == pytest.approx(2 * math.cos(7 * math.pi / 32), rel=1e-12)
    assert rate(100, "fixmatch") == pytest.approx(2 * math.cos(7 * math.pi / 16), rel=1e-12)
    assert rate(50, "adamatch") == pytest.approx(2 * 0.7906, abs=1e-4)
    assert rate(100, "adamatch") == pytest.approx(0.5, rel=1e-12) == rate(150, "adamatch")
    assert rate(50, "cosine") == pytest.approx(1, rel=1e-12) and rate(100, "cosine") == pytest.approx(0, abs=1e-15)
    assert rate(150, "cosine") == pytest.approx(0, abs=1e-15)  # and it does not rise again
    assert [rate(epoch, "ict", 400) for epoch in (100, 225, 400)] == pytest.approx(
        [rate(epoch, "cosine", 450) for epoch in (100, 225, 400)]
    )
    assert rate(1000, "ict", 400) == pytest.approx(rate(400, "ict", 400), rel=1e-12) == pytest.approx(0.0603, abs=1e-4)
    assert {rate(step, "constant") for step in (0, 50, 100, 1000)} == {2}


def test_the_warm_up_is_linear_and_the_schedule_follows_it():
    assert [rate(step, "constant", warm_up=4) for step in range(6)] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2, 2])
    assert rate(4, "cosine", total=104, warm_up=4) == 2
    assert rate(54, "cosine", total=104, warm_up=4) == pytest.approx(rate(50, "cosine"), rel=1e-12)


def test_nothing_is_learned_while_a_role_waits():
    assert [rate(step, "constant", wait=3) for step in range(5)] == [0, 0, 0, 2, 2]
    assert [rate(step, "constant", warm_up=1, wait=2) for step in range(5)] == [0, 0, 1, 2, 2]
    assert rate(53, "cosine", total=103, wait=3) == pytest.approx(rate(50, "cosine"), rel=1e-12)


@pytest.mark.parametrize("schedule", LEARNING_RATE)
def test_a_graph_of_the_step_tensor_gives_the_host_s_numbers(schedule: str):
    call = torch.compile(lambda step: learning_rate(step, 2.0, schedule, 100, 5, 3), backend="eager", fullgraph=True)
    for step in (0, 3, 7, 60, 103):
        found = call(torch.tensor(step))
        assert found.dtype == torch.float64 and found.ndim == 0
        assert float(found) == rate(step, schedule, warm_up=5, wait=3)
