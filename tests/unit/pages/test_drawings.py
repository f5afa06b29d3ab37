"""Plots as SVG of the page: its colors, its letters, and nothing that reaches beyond the plot."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from semisonic.pages.drawings import ADAPTED, NARROWEST, SERIES, Drawing, Key, color_of, drawing_of
from semisonic.pages.rendering import environment
from semisonic.reporting.pictures import drawing, inline

EVIL = "</text><script>a()</script>&<img src=x>"
PLOT = environment().from_string('{% from "pages/parts.html.j2" import plot %}{{ plot(picture) }}')


@drawing()
def drawn(name: str = "a", alt: str = "An alt", **options: bool) -> Drawing:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=SERIES[0][0], marker="o", label=name)
    axes.plot([0, 1], [1, 0], color=SERIES[3][0], linestyle="--", label="b")
    axes.fill_between([0, 1], [0, 0], [1, 1], color=SERIES[3][0], alpha=0.2)
    axes.text(0.5, 0.5, "on a cell", color="#101010")
    axes.set(xlabel=name)
    axes.grid()
    return inline(figure, alt, **options)


def test_colors_are_variables_of_the_page_and_others_stay():
    svg = drawn().svg
    assert "var(--series-3)" in svg and "var(--ink)" in svg and "var(--pale)" in svg and "#101010" in svg
    assert not [color for color in ADAPTED if color in svg]
    style = environment().from_string('{% include "pages/style.css.j2" %}').render()
    for place, (light, dark) in enumerate(SERIES):
        assert re.findall(rf"--series-{place}: (#\w+);", style) == [light, dark]
    assert [color_of(place) for place in (0, 1, 16, 17)] == ["var(--ink)", "var(--series-1)"] * 2


def test_text_is_text_in_the_letters_of_the_page():
    svg = drawn("speed").svg
    assert ">speed</text>" in svg and "DejaVu" not in svg and "font-size: 10px" in svg


def test_a_drawing_keeps_to_itself():
    """No rule of style, no name without use, and none that another drawing has."""
    first, second = (ElementTree.fromstring(drawn(name).svg) for name in ("a", "b"))
    for root in (first, second):
        names = {element.get("id") for element in root.iter()} - {None}
        text = ElementTree.tostring(root, encoding="unicode")
        used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', text))
        assert names == used and names
        assert not {"style", "metadata", "script"} & {element.tag for element in root.iter()}
        assert "xmlns" not in text
    both = [{element.get("id") for element in root.iter()} - {None} for root in (first, second)]
    assert not both[0] & both[1]


def test_names_are_text():
    page = PLOT.render(picture=drawn(EVIL, EVIL, legend=True, captioned=True))
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;") == 4  # the caption, the legend, the axis, and for those who cannot see it


def test_a_legend_names_lines_once_and_stands_above():
    made = drawn("first", legend=True, captioned=True)
    assert made.keys == (Key("first", "var(--ink)", "none"), Key("b", "var(--series-3)", "5 3"))
    page = PLOT.render(picture=made)
    assert page.index("An alt") < page.index("first</li>") < page.index("b</li>") < page.index('role="img"')
    assert "figcaption" not in PLOT.render(picture=drawn())


@pytest.mark.parametrize("inches", [4.5, 9.0])
def test_ten_points_are_eleven_pixels_or_more(inches: float):
    figure = Figure(figsize=(inches, 3))
    svg = inline(figure, "a").svg
    width = float(re.search(r"min-width:(\d+)px", svg)[1])  # type: ignore[index]
    assert width == pytest.approx(72 * inches * NARROWEST, abs=1) and NARROWEST * 10 >= 11
    assert f'viewBox="0 0 {72 * inches:g} 216"' in svg and ' width="' not in svg.partition(">")[0]


def test_the_same_figure_is_the_same_text():
    assert drawn() == drawn()


def test_what_is_no_svg_is_an_error():
    with pytest.raises(ElementTree.ParseError):
        drawing_of(b"<svg", "a")
