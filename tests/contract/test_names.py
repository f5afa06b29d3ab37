"""An algorithm and an add-on are known by name in their own file and the registry alone."""

import ast
from pathlib import Path

from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS
from tests.support.processes import ROOT

PACKAGE = ROOT / "engine" / "semisonic"
WHERE_NAMES_BELONG = ("algorithms", "addons", "recipes", "data/views", "studies")
"""Recipes choose algorithms, studies compare them, and policies of views are called after the methods that they come
from."""
OTHER_MEANINGS = {
    "config/migrations.py": {"auxiliary"},  # a section of version 0.1.0
    "optim/optimizer.py": {"adamatch", "fixmatch", "ict"},  # schedules, called after their papers
    "optim/schedules.py": {"adamatch", "fixmatch", "ict"},
    "config/run_config.py": {"supervised"},  # the folder of the baseline
    "daily/defaults.py": {"fixmatch"},  # a recipe, too, for a labeling project
    "daily/given.py": {"aum"},  # a column, called after the score that it holds
}


def literals(file: Path) -> set[str]:
    """Strings in a file that are its whole value, but no docstrings."""
    return {node.value for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip


def test_the_engine_names_no_algorithm_and_no_add_on():
    names = {*ALGORITHMS, *ADD_ONS}
    found = {}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).as_posix()
        if not place.startswith(WHERE_NAMES_BELONG):
            named = (literals(file) & names) - OTHER_MEANINGS.get(place, set())
            found |= {place: named} if named else {}
    assert found == {}
    assert all(literals(PACKAGE / place) >= own for place, own in OTHER_MEANINGS.items())
