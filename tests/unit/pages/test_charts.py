"""Values lie on the canvas of a chart, and the numbers at its edges are short."""

import pytest

from semisonic.pages.charts import Canvas, short

CANVAS = Canvas(400.0, 200.0, right=390.0, bottom=170.0)


def test_values_lie_between_the_edges():
    assert [CANVAS.x(part, 4) for part in (0, 1, 4)] == [46, 132, 390]
    assert [CANVAS.y(value, 50, 100) for value in (50, 75, 100)] == [170, 90, 10]


def test_what_is_beyond_a_scale_lies_at_its_end():
    assert [CANVAS.y(value, 0, 1) for value in (-1.0, 3.0)] == [CANVAS.bottom, CANVAS.top]


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (0.25, "0.25"), (999, "999"), (20_000, "20k"), (-1500, "-1.5k"), (1_500_000, "1.5M")]
)
def test_numbers_are_short(value: float, text: str):
    assert short(value) == text
