"""Windows count their own calls, ratios are taken round by round, and what fails in a process is told."""

import pytest
import torch

import measure
from tests.support.benchmarks import Broken


def test_ratios_are_taken_round_by_round():
    assert measure.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0])["rounds"] == [2.0, 3.0, 2.0]
    assert measure.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0])["median"] == 2.0


def test_a_window_counts_its_own_calls_only():
    calls = []
    _, counted = measure.timed(lambda: calls.append(1), torch.device("cpu"), 0.0, warm_up=2, least=3)
    assert counted == 3 and len(calls) == 5


def test_a_failing_variant_hands_its_traceback_to_the_parent():
    with pytest.raises(measure.Failed, match="RuntimeError: cannot build it") as failed:
        measure.Worker("broken", Broken, "it")
    assert failed.value.name == "broken" and failed.value.text.startswith("Traceback")


def test_the_most_that_was_allocated_at_once_is_counted():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        first, second = torch.empty(1_000_000), torch.empty(500_000)
        del first
        third = torch.empty(100)
    assert measure.most_allocated(recorded) == 4 * 1_500_000 and len(second) > len(third)
