"""The rank that the others wait for is named with what it spends its time on, and no other is."""

import time

import pytest
import torch

from semisonic.contract import Rank
from semisonic.training import stragglers
from semisonic.training.stragglers import Spent, Stragglers, main_thread_seconds, slowest


def usual(data: float = 0.2, computed: float = 4.0) -> Spent:
    return Spent(10.0, (data, computed, 0.1))


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (usual(data=4.1), (3, "waits for data", 0.41, 0.02)),
        (usual(computed=9.0), (3, "computes", 0.9, 0.4)),
        (Spent(10.0, (0.2, 4.0, 5.0)), (3, "waits for a CPU core", 0.5, 0.01)),
        (usual(data=1.8), None),  # 10 / (10 - 1.6) = 1.19
        (usual(), None),
    ],
)
def test_the_slowest_is_told_by_its_own_time(odd: Spent, expected: tuple | None):
    found = slowest([usual(), usual(), usual(), odd])
    if expected is None or found is None:
        assert found is expected
        return
    rank, part, share, others = expected
    assert (found.rank, found.part) == (rank, part)
    assert (found.share, found.others) == (pytest.approx(share), pytest.approx(others))
    assert found.ratio == pytest.approx(10 / (10 - (odd.own - usual().own)))


def test_of_two_ranks_the_median_is_the_other():
    found = slowest([usual(data=5.0), usual()])
    assert found is not None and found.rank == 0 and slowest([Spent(1.0, (1.02, 0, 0)), Spent(1.0, (0, 0, 0))])


def test_it_is_named_at_the_second_reading_in_a_row_and_once(monkeypatch: pytest.MonkeyPatch):
    made = Stragglers(Rank(0, 2), object(), torch.device("cpu"), 100)
    late, even = [usual(), usual(data=6.0)], [usual(), usual()]
    readings: list[list[Spent]] = []
    monkeypatch.setattr(made, "exchange", lambda own: readings.pop(0))
    told = []
    for reading in [late, even, late, late, late, even, late, late, even, even, late, late]:
        readings.append(reading)
        told.append(made.read(made.due, 0.0, 0.0))
        assert not readings
    assert [bool(metrics) for metrics, _ in told] == [k in (3, 4, 7, 11) for k in range(12)]
    lines = [line for _, line in told if line]
    assert [k for k, (_, line) in enumerate(told) if line] == [3, 11]  # one even reading between does not tell it anew
    assert "rank 1 is the slowest: 60% of its time it waits for data, the others 2%" in lines[0]
    assert told[3][0] == {"straggler/rank": 1, "straggler/slowdown": pytest.approx(10 / 4.2)}


def test_readings_are_half_a_minute_apart_and_the_same_steps_on_every_rank(monkeypatch: pytest.MonkeyPatch):
    made = Stragglers(Rank(0, 2), object(), torch.device("cpu"), 0)
    asked = []
    monkeypatch.setattr(
        made, "exchange", lambda own: asked.append(own) or [Spent(4.0, (0, 0, 0)), Spent(5.0, (0, 0, 0))]
    )
    made.read(10, 0.0, 0.0)  # half a second a step, by the slower rank
    assert made.due == 10 + 60
    assert made.read(69, 0.0, 0.0) == ({}, None) and len(asked) == 1
    made.read(70, 0.0, 0.0)
    assert len(asked) == 2
    alone = Stragglers(Rank(0, 1), None, torch.device("cpu"), 0)
    assert alone.read(10, 0.0, 0.0) == ({}, None)


def test_own_time_leaves_out_what_a_thread_sleeps_for(monkeypatch: pytest.MonkeyPatch):
    made = Stragglers(Rank(0, 2), object(), torch.device("cpu"), 0)
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    time.sleep(0.1)
    spent = made.spent(0.03, 0.01)
    assert spent.whole >= 0.15 and spent.parts[0] == 0.03
    assert 0.04 <= spent.parts[1] < 0.09 and spent.parts[2] >= 0
    assert made.spent(0.03, 0.01).parts[0] == 0
    gpu = Stragglers(Rank(0, 2), object(), torch.device("cuda"), 0)
    assert gpu.spent(0.5, 0.0).parts == (0.5, 0.0, 0.0)
    assert stragglers.EVERY > 1 and main_thread_seconds()[0] > 0
