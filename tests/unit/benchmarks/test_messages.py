"""The messages of one rank's step are those that are stored, whatever the number of ranks."""

import pytest

from aot.messages import CASES, METHODS, RANKS, broken, grown
from tests.support.aot_tables import made, stored, wrong

ROW = {"gradients": {"messages": 2, "bytes": 400}, "BatchNorm forward": {"messages": 25, "bytes": 900}}


def test_one_message_more_is_worse_than_stored():
    assert broken("m", ROW) == [] == grown("m", ROW, ROW)
    more = ROW | {"BatchNorm forward": {"messages": 26, "bytes": 900}}
    assert grown("m", more, ROW) == ["m: BatchNorm forward: messages was 25 and is 26"]
    new = ROW | {"algorithm state": {"messages": 1, "bytes": 4}}
    assert grown("m", new, ROW) == ["m: algorithm state: 1 messages are new"]


def test_a_step_without_gradients_is_against_the_rules():
    assert broken("m", {}) == ["m: no gradient is reduced"]


def test_messages_do_not_depend_on_the_ranks_and_a_separate_pass_brings_its_own():
    rows = stored("messages")["rows"]
    assert list(rows) == list(CASES)
    for method in METHODS:
        numbers = [{p: found["messages"] for p, found in rows[f"{method}, {ranks} ranks"].items()} for ranks in RANKS]
        assert numbers[0] == numbers[1] == numbers[2]
    joint, separate = (rows[f"fixmatch wrn-28-2 {way}, 8 ranks"] for way in ("joint", "separate"))
    assert separate["BatchNorm forward"]["messages"] > joint["BatchNorm forward"]["messages"]
    assert separate["BatchNorm backward"] == joint["BatchNorm backward"]


@pytest.mark.slow
def test_messages_are_those_that_are_stored_and_one_more_is_found():
    small, fixmatch, separate = (f"fixmatch {name}, {ranks} ranks" for name, ranks in (
        ("small", 512), ("wrn-28-2 joint", 8), ("wrn-28-2 separate", 64)))  # fmt: skip
    table, more = made(("messages", "", [small, fixmatch, separate]), ("messages", "talks", [small]))
    assert wrong("messages", table) == []
    (line,) = [line for line in wrong("messages", more) if "messages" in line]
    assert line.startswith(f"{small}: ")


@pytest.mark.long
def test_all_messages_are_those_that_are_stored():
    (table,) = made(("messages", "", list(CASES)), seconds=3600)
    assert wrong("messages", table) == []
