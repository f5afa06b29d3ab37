"""Plots over days: inside of their canvas, with round steps, and said in words."""

import pytest

from semisonic.daily.report.charts import CANVAS, SHOWN, charts
from semisonic.daily.report.model import Day
from tests.support.daily_reports import estimate


def days(count: int, accuracy: float | None = 0.9, **figures: int) -> list[Day]:
    fields = {"images": 600, "by_people": 40, "looks": 40, "errors": 9} | figures
    audited = None if accuracy is None else estimate(accuracy)
    return [Day(number=k + 1, run=f"day-{k + 1:03d}", accuracy=audited, **fields) for k in range(count)]


@pytest.mark.parametrize("count", [2, 5, 13, 200])
@pytest.mark.parametrize("accuracy", [0.02, 0.55, 0.99])
def test_all_lies_on_the_canvas(count: int, accuracy: float):
    made = charts(days(count, accuracy))
    assert len(made) == 3
    for chart in made:
        assert len(chart.x_ticks) <= 12 and 3 <= len(chart.y_ticks) <= 6
        for series in chart.series:
            assert len(series.marks) == min(count, SHOWN)
            for mark in series.marks:
                assert CANVAS.left <= mark.x <= CANVAS.right
                assert CANVAS.top - 1e-6 <= mark.high <= mark.y <= mark.low <= CANVAS.bottom + 1e-6


def test_a_chart_says_what_it_shows():
    accuracy, looks, labels = charts(days(2, 0.962))
    assert accuracy.summary == "day 1: 96.2 % (93.2 to 99.2), n = 200; day 2: 96.2 % (93.2 to 99.2), n = 200"
    assert [tick.text for tick in accuracy.y_ticks] == ["90 %", "92 %", "94 %", "96 %", "98 %", "100 %"]
    assert looks.summary == "On day 2: 40 looks, 9 wrong labels found"
    assert labels.summary == "On day 2: 1,200 images, 40 labeled by people"
    assert labels.y_ticks[-1].text == "1.5k" and looks.y_ticks[-1].text == "40"


def test_what_is_not_there_is_not_drawn():
    assert charts(days(1)) == [] and charts([]) == []
    assert [chart.kind for chart in charts(days(2, None, looks=0, errors=0))] == ["bars"]
    few = charts(days(2, None, images=1, by_people=1, looks=1, errors=0))
    assert [tick.text for tick in few[0].y_ticks] == ["0", "1"]
