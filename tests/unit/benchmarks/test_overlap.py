"""What hides a message is read from generated code; one more that nothing hides is noticed."""

import sys
from pathlib import Path

import pytest

import without_gpu
from aot import overlap
from aot.step_code import Graph
from tests.support.processes import Start

CODE = """
    buf1 = torch.ops._c10d_functional.all_gather_into_tensor.default(buf0, 8, '0')
    buf2 = extern_kernels.convolution(buf9, primals_2, stride=(1, 1))
    buf3 = torch.ops._c10d_functional.wait_tensor.default(buf1)
"""
SERIAL = "\n".join(CODE.splitlines()[i] for i in (1, 3, 2))
CASE = next(iter(overlap.TABLE.values()))


def test_a_message_more_and_one_that_nothing_hides_are_noticed():
    graphs = [Graph("network", "", "forward", code) for code in (CODE, SERIAL)]
    row = overlap.row(CASE, graphs)
    assert row["messages"] == {"forward": {"all_gather_into_tensor": 2}} and row["graphs"] == {"network forward": 2}
    assert row["overlapped"] == row["not overlapped"] == {"forward": 1}
    assert overlap.broken("case", row) == [] == overlap.grown("case", row, row)
    more = overlap.row(CASE, [*graphs, graphs[0]])
    assert overlap.grown("case", more, row) == ["case: messages: forward: all_gather_into_tensor was 2 and is 3"]
    serial = overlap.row(CASE, [graphs[1]] * 2)
    assert overlap.grown("case", serial, row) == ["case: not overlapped: forward was 1 and is 2"]
    assert overlap.grown("case", row, serial) == [], "one that is hidden is no complaint"


def test_ranks_without_messages_break_the_rule():
    assert overlap.broken("case", overlap.row(CASE, [Graph("network", "", "forward", "")])) != []


@pytest.mark.long
def test_the_stored_order_is_that_of_this_checkout(start: Start):
    child = start(sys.executable, Path(without_gpu.__file__), "overlap", "--check")
    said, _ = child.communicate(timeout=900)
    assert child.returncode == 0, said[-4000:]
