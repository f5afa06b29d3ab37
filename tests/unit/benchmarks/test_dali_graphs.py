"""DALI's GPU graphs can be defined and written out without a GPU."""

import pytest

from aot.dali_graphs import CASES, KINDS, broken
from semisonic.data.views.registry import VIEWS
from semisonic.recipes import RECIPES
from tests.support.aot_tables import made, wrong

SOME = [*(f"recipe {name}" for name in RECIPES), "view simclr", "view augmix", "view ctaugment", "view noise"]


def test_every_recipe_and_every_kind_of_view_is_a_case():
    assert {f"recipe {name}" for name in RECIPES} <= set(CASES)
    assert {spec.partition("(")[0] for spec in KINDS.values()} == set(VIEWS)


def test_a_row_without_graphs_or_with_errors_is_wrong():
    assert broken("view weak", {"graphs": 1, "operators": 4, "errors": []}) == []
    assert broken("view weak", {"graphs": 0, "operators": 0, "errors": []}) == ["view weak: there is no graph"]
    assert broken("view weak", {"graphs": 1, "operators": 0, "errors": ["TypeError"]}) == ["view weak: TypeError"]


@pytest.mark.long
def test_some_graphs_can_be_written_out_and_a_misspelt_argument_is_found():
    table, misspelt = made(("dali", "", SOME), ("dali", "misspelt", ["view weak"]))
    assert wrong("dali", table) == [] and table["rows"].keys() == {*SOME}
    lines = [line for line in wrong("dali", misspelt) if " of files" in line]
    assert len(lines) == 6 and all("horizonal" in line for line in lines)


@pytest.mark.long
def test_every_graph_can_be_written_out():
    (table,) = made(("dali", "", list(CASES)), seconds=3600)
    assert wrong("dali", table) == [] and table["rows"].keys() == {*CASES}
