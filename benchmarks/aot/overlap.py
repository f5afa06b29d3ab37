"""The part `overlap`: what the generated code of a step on several ranks does between a message's send and its wait.

The other ranks are not there. Their number changes the size of a gathered tensor alone, never the order.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aot import Row, larger
from aot.step import Case

ABOUT = "messages inside the generated code of a step on 8 ranks, and which of them a convolution hides"
VERSIONS = ("torch", "triton")
SECONDS = 1500.0
RANKS = 8
TABLE = {
    "fixmatch, wrn-28-2": Case("fixmatch"),
    "fixmatch, weak views apart, wrn-28-2": Case("fixmatch", fields=("--algorithm.weak-pass", "separate")),
}
CASES = tuple(TABLE)


def rows(names: Sequence[str]) -> dict[str, Row]:
    from aot import step_code

    return {name: row(TABLE[name], step_code.generate(TABLE[name].command, ranks=RANKS)) for name in names}


def row(case: Case, graphs: Sequence[Any]) -> Row:
    """Messages of a step by direction and operation, and how many are overlapped; DDP cuts a graph into several."""
    from aot.step_counts import messages

    sent: dict[str, list[Any]] = {}
    for graph in graphs:
        sent.setdefault(graph.kind, []).extend(messages(graph.code))
    return {
        "command": " ".join(case.command),
        "ranks": RANKS,
        "graphs": dict(Counter(graph.name for graph in graphs)),
        "messages": {kind: dict(Counter(one.operation for one in own)) for kind, own in sent.items()},
        "overlapped": {kind: sum(one.overlapped for one in own) for kind, own in sent.items()},
        "not overlapped": {kind: sum(not one.overlapped for one in own) for kind, own in sent.items()},
    }


def broken(name: str, row: Row) -> list[str]:
    """Nothing but that there are messages: of the generated code itself `messages` raises what is wrong."""
    return [] if any(row["messages"].values()) else [f"{name}: no messages in the generated code of {RANKS} ranks"]


def grown(name: str, row: Row, stored: Row) -> list[str]:
    """More messages, or more that nothing hides."""
    return [line for key in ("messages", "not overlapped") for line in larger(f"{name}: {key}", row[key], stored[key])]
