"""Tables of stored results."""

from pathlib import Path

import pytest

from _extension.tables import Table, table
from _extension.words import BadReference


def texts(made: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in made.rows]


def test_columns_have_headers_formats_half_widths_and_ranges(results: Path):
    made = table("rows.csv", {}, ['entry="method, or so" code', "error .1f +- error_half_width", "seconds"], results)
    assert made.headers == ["method, or so", "error", "seconds"]
    assert texts(made) == [["uda", "3.1 ± 0.7", "10"], ["a=b/c", "2.5", "–"], ["fixmatch", "12.0 ± 1.5", "−20"]]
    assert made.rows[0][0].code and made.rows[0][1].number and not made.rows[0][0].number


def test_rows_of_an_object_have_names_and_columns_may_calculate(results: Path):
    lines = ['name()="arm"', "median .1f (min to max)", 'max / min="spread" .2f']
    made = table("one.json seconds", {}, lines, results)
    assert made.headers == ["arm", "median", "spread"]
    assert texts(made) == [["none / aum", "2.0 (1.5 to 2.5)", "1.67"], ["aum", "4.0 (3.0 to 5.0)", "1.67"]]


def test_rows_are_chosen_sorted_and_renamed(results: Path):
    options = {"where": "seconds!=", "sort": "-error", "names": 'fixmatch="Fix, match"', "columns": "entry, error"}
    assert texts(table("rows.csv", options, [], results)) == [["Fix, match", "12"], ["uda", "3.15"]]


def test_empty_values_come_last_in_either_order(results: Path):
    for by, expected in (("seconds", ["fixmatch", "uda", "a=b/c"]), ("-seconds", ["uda", "fixmatch", "a=b/c"])):
        made = table("rows.csv", {"sort": by}, ["entry"], results)
        assert [row[0].text for row in made.rows] == expected


@pytest.mark.parametrize(
    "argument, options, lines, message",
    [
        ("rows.csv", {}, [], "no columns"),
        ("rows.csv a b", {}, ["entry"], r"expected FILE \[PATH\]"),
        ("rows.csv", {"where": "entry=vat"}, ["entry"], "no row is left"),
        ("rows.csv", {"sort": "eror"}, ["entry"], "eror: is no name"),
        ("one.json cells", {"sort": "arm"}, ["eror"], "column eror: eror: is no name"),
        ("rows.csv", {}, ["error .2f .3f"], "is too much; is a comma missing"),
        ("rows.csv", {}, ["error (a b"], r"expected \(PATH to PATH\)"),
        ("rows.csv", {"names": "a"}, ["entry"], "names: a: expected STORED=SHOWN"),
        ("rows.csv", {}, ["error + entry"], "'uda' is no number"),
        ("one.json", {"sort": "name()"}, ["name()", "count()"], "is 'python benchmarks/one.py', no list"),
    ],
)
def test_what_cannot_be_a_table_is_refused(
    results: Path, argument: str, options: dict[str, str], lines: list[str], message: str
):
    with pytest.raises(BadReference, match=message):
        table(argument, options, lines, results)
