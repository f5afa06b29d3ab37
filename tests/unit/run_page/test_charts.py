"""Curves: what they are of, and where their points lie."""

import pytest

from semisonic.run_page.charts import CANVAS, POINTS, charts, scale, thinned


def heights(points: str) -> list[float]:
    return [float(point.split(",")[1]) for point in points.split()]


def test_the_charts_of_a_run(planted):
    found = {chart.title: chart for chart in charts(planted())}
    assert list(found) == ["Accuracy on the test images", "Losses", "Pseudo-labels that count", "Learning rate"]
    assert [line.name for line in found["Losses"].lines] == ["all", "labeled", "unlabeled", "test images (EMA)"]
    accuracy = found["Accuracy on the test images"]
    assert accuracy.lines[0].last == "90.00" and accuracy.y_ticks[-1].text == "100"
    ys = heights(accuracy.lines[0].points)
    assert ys == sorted(ys, reverse=True) and min(ys) > CANVAS.top and max(ys) == CANVAS.bottom


def test_an_accuracy_that_is_always_100_percent_ends_its_scale(planted):
    accuracy = charts(planted(top1=[100.0] * 4))[0]
    assert accuracy.y_ticks[-1].text == "100" and {*heights(accuracy.lines[0].points)} == {CANVAS.top}


def test_thresholds_of_classes_have_a_band_and_rates_that_stay_no_chart(planted):
    facts = planted()
    for number, line in enumerate(facts.readings):
        line |= {"train/threshold": [0.1, 0.2 + number / 100, 0.9], "lr": 0.1}
    found = {chart.title: chart for chart in charts(facts)}
    assert "Learning rate" not in found
    band = heights(found["Threshold of the classes"].lines[0].band)
    assert len(band) == 2 * len(facts.readings) and max(band[:10]) < min(band[10:])


def test_losses_below_zero_are_told_and_a_high_beginning_is_cut_off(planted):
    facts = planted()
    facts.lines.insert(0, {**facts.lines[0], "step": 1, "train/loss": 500.0})
    for line in facts.readings:
        line["train/loss_fairness"] = -3.0
    losses = next(chart for chart in charts(facts) if chart.title == "Losses")
    assert "up to 500, are cut off" in losses.note and "below 0: fairness" in losses.note
    assert min(heights(losses.lines[0].points)) == CANVAS.top


def test_a_run_without_lines_has_no_chart(planted):
    assert charts(planted(lines=[])) == []


@pytest.mark.parametrize(
    "low, high, expected",
    [(0, 100, [0, 20, 40, 60, 80, 100]), (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (83, 97, [80, 85, 90, 95, 100])],
)
def test_scales_are_round(low: float, high: float, expected: list[float]):
    assert scale(low, high) == pytest.approx(expected)


def test_long_lines_are_thinned_and_keep_their_end():
    points = [(float(step), 1.0) for step in range(10_000)]
    found = thinned(points)
    assert len(found) <= POINTS and found[-1] == points[-1] and {value for _, value in found} == {1.0}
