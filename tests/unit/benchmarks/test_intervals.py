"""What stored runs come to is computed as it is stored, and is what the comparison itself says where it says it."""

import csv
import json

import pytest

import intervals
import provenance
from intervals import RESULTS, difference, lost, row


@pytest.fixture(scope="module")
def now():
    return intervals.found()


def test_the_stored_intervals_are_those_of_the_stored_runs(now: dict):
    stored = json.loads(intervals.OUT.read_text())
    assert provenance.of(intervals.OUT).script == "benchmarks/intervals.py"
    for name in ("rows", "classes_lost"):
        assert [{k: v for k, v in one.items() if not isinstance(v, float | list)} for one in stored[name]] == [
            {k: v for k, v in one.items() if not isinstance(v, float | list)} for one in now[name]
        ]
        for old, new in zip(stored[name], now[name], strict=True):
            numbers = {key: value for key, value in new.items() if isinstance(value, float)}
            assert {key: old[key] for key in numbers} == pytest.approx(numbers)


def test_a_difference_is_that_of_the_comparison_where_both_have_it():
    """Of methods less supervised, whose differences semisonic compare has stored."""
    runs = intervals.runs_of("compare-digits-runs.csv", RESULTS)
    supervised = intervals.errors(runs, "supervised", 40)
    with open(RESULTS / "compare-digits.csv", newline="") as file:
        table = {one["entry"]: one for one in csv.DictReader(file)}
    for entry in ("fixmatch", "mpl", "vat"):
        own = difference("digits", entry, intervals.errors(runs, entry, 40), supervised, "supervised")
        told = (float(table[entry]["against_supervised"]), float(table[entry]["against_supervised_half_width"]))
        assert (own["mean"], own["half_width"]) == pytest.approx(told, rel=1e-4) and own["runs"] == 5


def test_a_difference_is_of_the_seeds_that_both_have():
    found = difference("x", "a", {0: 3.0, 1: 5.0, 2: 9.0}, {2: 4.0, 1: 4.0, 7: 1.0}, "b", labels=4)
    assert (found["seeds"], found["values"], found["mean"]) == ([1, 2], [1.0, 5.0], 3.0)
    assert (found["smallest"], found["largest"], found["against"], found["labels"]) == (1.0, 5.0, "b", 4)
    assert row("x", "a", {0: 3.0})["half_width"] is None


def test_lost_classes_are_counted_by_their_names():
    assert lost("", intervals.DIGITS) == 0 and lost("3 8 9", intervals.DIGITS) == 3
    assert lost("T-shirt/top Ankle boot Bag", intervals.CLOTHES) == 3
    with pytest.raises(ValueError, match="begins with no class"):
        lost("Ankle", intervals.CLOTHES)


def test_seconds_until_an_error_is_held_end_with_all_steps(now: dict):
    rows = [one for one in now["rows"] if one["of"] == "time to accuracy"]
    assert len(rows) == 9
    for one in rows:
        assert all(
            seconds is None or 0 < seconds <= 1.1 * one["seconds_of_all_steps"] for seconds in one["seconds_until_held"]
        )
        assert one["held"].count("never") == one["seconds_until_held"].count(None)
