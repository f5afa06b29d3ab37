"""From which moment on the errors of trainings hold a target, with the test that says so."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats

LEVEL = 0.01
HELD = 3
"""Evaluations whose mean is the error at a moment."""


def held(errors: Sequence[float]) -> list[float]:
    """The mean of each `HELD` evaluations in a row; infinite before there are so many."""
    return [math.inf] * (HELD - 1) + [
        statistics.fmean(errors[last - HELD : last]) for last in range(HELD, len(errors) + 1)
    ]


def p_value(errors: Sequence[float], target: float) -> float:
    """Of the one-sided t-test that the mean of the seeds' errors is below the target."""
    mean = statistics.fmean(errors)
    if len(errors) < 2 or math.isinf(mean):
        return 1.0
    deviation = statistics.stdev(errors)
    if deviation == 0:
        return 0.0 if mean < target else 1.0
    return float(stats.t.cdf((mean - target) / (deviation / math.sqrt(len(errors))), len(errors) - 1))


def first_held(fine: Sequence[bool]) -> int | None:
    """The first moment from which on it is fine at all, of those gone through from the end."""
    found = None
    for moment in reversed(range(len(fine))):
        if not fine[moment]:
            break
        found = moment
    return found


def half_width(values: Sequence[float]) -> float:
    """Of a 95 % interval of the mean."""
    if len(values) < 2:
        return math.inf
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
