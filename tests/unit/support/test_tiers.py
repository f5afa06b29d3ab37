"""Which tests a session runs, and what it stores of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import left_out
from tests.support.record import record


def item(*markers: str) -> SimpleNamespace:
    return SimpleNamespace(get_closest_marker=lambda name: name if name in markers else None)


def config(*options: str) -> SimpleNamespace:
    return SimpleNamespace(getoption=lambda name: name in options)


@pytest.mark.parametrize(
    ("markers", "options", "runs"),
    [
        ((), (), True),
        (("slow",), (), False),
        (("slow",), ("--slow",), True),
        (("slow",), ("--long",), False),
        (("long",), ("--slow",), False),
        (("long",), ("--long",), True),
        (("slow", "long"), ("--slow",), False),  # a long case of a slow test is long
        (("slow", "long"), ("--long",), True),
        (("slow", "gpu"), (), True),
        (("kernels",), (), True),
    ],
)
def test_a_tier_runs_where_it_is_asked_for(markers: tuple[str, ...], options: tuple[str, ...], runs: bool):
    assert left_out(config(*options), item(*markers)) != runs


def test_the_outcome_is_stored_beside_others(tmp_path: Path):
    stats = {"passed": [1, 2], "failed": [SimpleNamespace(nodeid="tests/a.py::test_b")], "deselected": [1]}
    reporter = SimpleNamespace(stats=stats)
    session = SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda name: reporter),
        invocation_params=SimpleNamespace(args=("--long", "tests")),
    )
    file = tmp_path / "outcome.json"
    file.write_text('{"other": 1}')
    record(session, "make one, shared", 3.14159, file)
    stored = json.loads(file.read_text())
    assert stored["other"] == 1 and stored["command"] == "make one"
    found = stored["make one, shared"]
    assert found["counts"] == {"passed": 2, "failed": 1, "error": 0, "skipped": 0, "deselected": 1}
    assert found["failures"] == ["tests/a.py::test_b"] and found["seconds"] == 3.1
    assert found["environment"]["commit"] and found["environment"]["versions"]["torch"]
