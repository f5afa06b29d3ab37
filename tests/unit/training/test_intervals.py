"""The interval of an accuracy on few images."""

import pytest

from semisonic.training.intervals import FEW, accuracy_interval, interval_of_few


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.0, 16.11),
        (1, 29, 0.61, 17.18),
        (20, 20, 83.89, 100.0),
    ],
)
def test_it_is_wilson_s(right: int, count: int, low: float, high: float):
    assert accuracy_interval(right, count) == pytest.approx((low, high), abs=0.005)


def test_it_holds_the_accuracy_and_shrinks():
    widths = []
    for count in (1, 10, 100, 999):
        for right in range(0, count + 1, max(1, count // 10)):
            low, high = accuracy_interval(right, count)
            assert 0 <= low <= 100 * right / count <= high <= 100
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_only_few_images_need_one():
    assert interval_of_few(100 * 81 / 263, 263) == accuracy_interval(81, 263)
    assert interval_of_few(50.0, FEW) is None
