"""Figures by reference."""

from pathlib import Path

import pytest

from _extension.figures import figure, files_of
from _extension.words import BadReference


@pytest.mark.parametrize(
    "text, shown",
    [
        ("rows.csv entry=uda/error", "3.15"),
        ("rows.csv entry=uda/error .1f", "3.1"),
        ("rows.csv entry=fixmatch/seconds", "−20"),
        ("rows.csv 1/entry", "a=b/c"),
        ("rows.csv entry=uda/seconds - entry=fixmatch/seconds", "30"),
        ("rows.csv entry=uda/error / entry=uda/seconds .1%", "31.5%"),
        ("rows.csv entry=fixmatch/error * 60 ,", "720.0"),
        ("rows.csv entry=fixmatch/error / entry=uda/seconds - 1 +.0%", "+20%"),
        ("rows.csv entry=uda/seconds / one.json seconds/aum/median .2f", "2.50"),
        ("one.json cells/0/arm >3", "  x"),
        ("one.json done", "True"),
    ],
)
def test_a_figure_is_what_its_reference_says(results: Path, text: str, shown: str):
    assert figure(text, results) == shown


@pytest.mark.parametrize(
    "text, message",
    [
        ("rows.csv", r"expected FILE PATH \[FORMAT\]"),
        ("no.csv a", "no.csv: there is no such file"),
        ("rows.csv 1/seconds", "rows.csv: is empty"),
        ("one.json cells", "leads to 3 values; a figure is one"),
        ("rows.csv entry=uda/entry .2f", "'uda' cannot be shown as '.2f'"),
        ("rows.csv entry=uda/error .2f more", "more: is too much"),
        ("rows.csv 0/error /", "/: a path or a number must follow"),
        ("rows.csv 0/error / 0", "a division by 0"),
        ("rows.csv 0/error / one.json", "one.json: a path must follow"),
        ("rows.csv 0/error + 0/entry", "'uda' is no number to calculate with"),
        ("one.json done + 1", "True is no number"),
    ],
)
def test_a_wrong_reference_is_one_line_that_names_the_file(results: Path, text: str, message: str):
    with pytest.raises(BadReference, match=message) as raised:
        figure(text, results)
    assert "\n" not in str(raised.value)


def test_the_files_of_a_reference_are_known():
    assert files_of("rows.csv a / one.json b .2f") == ["rows.csv", "one.json"]
