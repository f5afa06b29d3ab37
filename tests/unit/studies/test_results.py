"""What planted figures say: differences of the same seeds, their intervals, and sentences that claim no more."""

import math

import pytest

from semisonic.studies.declaration import Factor, Setting, Study, raw, setting
from semisonic.studies.results import (
    Result,
    compared,
    differences,
    is_seen,
    listed,
    name_of,
    sentence,
    sentences,
)

BASE, SLOW, FAST, TWIN, LONE = "fixmatch", "fixmatch:a=1", "fixmatch:a=2", "fixmatch:a=3", "fixmatch:a=4"
ERRORS = {
    BASE: {0: 3.0, 1: 4.0, 2: 5.0}, SLOW: {0: 6.0, 1: 7.25, 2: 7.75}, FAST: {0: 2.0, 1: 3.0, 2: 3.5},
    TWIN: {0: 2.0, 1: 4.5, 2: 5.5}, LONE: {2: 1.0}, "uda": {7: 1.0},
}  # fmt: skip
FACTOR = Factor("decay", "FixMatch", BASE, "0.99", {"0.999": SLOW, "0.9": FAST, "0.95": TWIN, "0.5": LONE, "0": "uda"})


def planted(errors: dict[str, dict[int, float]]) -> dict[Setting, Result]:
    return {setting(entry): Result(setting(entry), 400, 1000, own, [1.0] * len(own)) for entry, own in errors.items()}


def test_a_difference_is_that_of_the_same_seeds_with_student_s_interval():
    found = differences(FACTOR, planted(ERRORS))["0.999"]  # +3, +3.25, +2.75
    assert found is not None and found.count == 3 and found.mean == 3
    assert found.half == pytest.approx(4.302653 * 0.25 / math.sqrt(3), rel=1e-5)
    assert is_seen(found)


def test_a_sentence_says_which_differences_are_seen_and_which_are_not():
    assert sentence(FACTOR, planted(ERRORS)) == (
        "FixMatch, decay: 0.999 has a higher error than 0.99, by 3.00 ± 0.62 points; "
        "0.9 has a lower error than 0.99, by 1.17 ± 0.72 points; "
        "no difference is seen with 0.95 (+0.00 ± 2.15); with 0.5 there is one seed, which has no interval; "
        "with 0 no seed has finished beside 0.99."
    )


def test_where_all_intervals_hold_0_it_says_so_and_claims_nothing():
    factor = Factor("decay", "FixMatch", BASE, "0.99", {"0.95": TWIN, "0.8": "flat"})
    said = sentence(factor, planted(ERRORS | {"flat": ERRORS[BASE]}))
    assert said == "FixMatch, decay: no difference from 0.99 is seen with 0.95 (+0.00 ± 2.15) and 0.8 (+0.00 ± 0.00)."


def test_an_interval_that_ends_at_0_shows_nothing():
    pair = planted({BASE: {0: 0.0, 1: 0.0}, SLOW: {0: 1.0, 1: 2.0}})  # 1.5, half width 6.35
    found = differences(Factor("decay", "", BASE, "0.99", {"0.999": SLOW}), pair)["0.999"]
    assert found is not None and not is_seen(found)
    assert not is_seen(type(found)(2.0, 2.0, 2)) and is_seen(type(found)(-2.01, 2.0, 2))
    assert not is_seen(type(found)(9.0, None, 1))


def test_without_a_baseline_nothing_is_compared():
    without = planted({SLOW: ERRORS[SLOW]})
    assert differences(FACTOR, without)["0.999"] is None
    assert sentence(Factor("decay", "", BASE, "0.99", {"0.999": SLOW}), without) == (
        "Decay: with 0.999 no seed has finished beside 0.99."
    )


def test_a_study_counts_its_intervals():
    study = Study("x", "?", "", (FACTOR, Factor("decay", "", BASE, "0.99", {"0.9": FAST})))
    assert compared(study, planted(ERRORS)) == 4  # a single seed has none
    assert len(sentences(study, planted(ERRORS))) == 2


def test_words():
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert (name_of(setting("uda:weight=2")), name_of(raw("uda"))) == ("uda (weight=2)", "uda, the network itself")
