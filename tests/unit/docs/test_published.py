"""Published errors: one file, in which all that the algorithms' docstrings quote is found."""

import inspect
import re

import pytest

from _extension.published import COLLECTIONS, DATA, errors, published
from semisonic.algorithms.registry import ALGORITHMS

QUOTED = re.compile(r"(\d+\.\d+)\+?(?: \+- ([\d.]+))?,? \((\d[\d,]*)(?: labels)?[,)]")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_errors_that_an_algorithm_quotes_are_in_the_file(name: str):
    text = " ".join((inspect.getdoc(ALGORITHMS[name].paper_settings) or "").split())
    stored = {(row.error, row.labels) for row in errors() if row.method == name}
    quoted = {(error, int(labels.replace(",", ""))) for error, _, labels in QUOTED.findall(text.partition("Error")[2])}
    assert quoted - stored == set()


def test_the_methods_and_data_of_the_file_are_known():
    rows = errors()
    assert {row.method.partition(":")[0] for row in rows} <= set(ALGORITHMS)
    assert {row.data for row in rows} == set(DATA)
    assert set(COLLECTIONS) <= {row.source for row in rows}
    assert all(0 < float(row.error) < 100 for row in rows)
    keys = [(row.source, row.method, row.data, row.labels) for row in rows]
    assert len(keys) == len(set(keys))


def test_every_error_is_on_the_page_with_its_mark():
    text = published()
    assert text.count(" ± ") == sum(bool(row.deviation) for row in errors())
    assert len(re.findall(r"\d\+( |$)", text, re.MULTILINE)) == sum(row.from_memory for row in errors())
    assert "| `flexmatch` | 4.97 ± 0.06 | 4.98 | 4.19 |" in text
