"""An error is held by several evaluations in a row, and the test over seeds is the usual one."""

import math

import pytest
from scipy import stats

from held_errors import first_held, half_width, held, p_value


def test_an_error_is_held_over_three_evaluations():
    assert held([9, 6, 3, 0]) == [math.inf, math.inf, 6, 3]


def test_p_is_that_of_a_one_sided_t_test_over_seeds():
    errors = [2.5, 3.0, 2.75, 3.25, 2.5]
    assert p_value(errors, 3.5) == pytest.approx(stats.ttest_1samp(errors, 3.5, alternative="less").pvalue)
    assert p_value([2.0, 2.0], 3.5) == 0 and p_value([3.5, 3.5], 3.5) == 1
    assert p_value([1.0], 3.5) == 1, "one seed tells nothing"
    assert p_value([math.inf] * 3, 3.5) == 1


def test_moments_are_gone_through_from_the_end():
    assert first_held([True, False, True, True]) == 2
    assert first_held([True, False]) is None and first_held([]) is None
    assert first_held([True, True]) == 0


def test_the_half_width_is_student_s():
    values = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, 7 / 3, stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2) and math.isinf(half_width([1.0]))
