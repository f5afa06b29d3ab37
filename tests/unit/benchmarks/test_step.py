"""The stored counts of a step's generated code are those of this checkout."""

from pathlib import Path

import pytest

import without_gpu
from aot import step
from tests.support.processes import Start

triton = pytest.importorskip("triton")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
QUICK = "fixmatch, wrn-10-2"


def check(start: Start, *cases: str, seconds: float) -> None:
    import sys

    command = [sys.executable, Path(without_gpu.__file__), "step", "--check", "--only", *cases]
    child = start(*command)
    said, _ = child.communicate(timeout=seconds)
    assert child.returncode == 0, said[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler")
def test_no_count_of_fixmatch_has_grown(start: Start):
    check(start, QUICK, seconds=600)


@pytest.mark.long
@pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler")
def test_no_count_of_other_steps_has_grown(start: Start):
    check(start, *(name for name in step.CASES if name != QUICK), seconds=3000)


def test_a_second_graph_of_a_role_breaks_the_rule():
    row = {"graphs of each": {"network forward": 2, "network backward": 1}, "in local memory": []}
    assert step.broken("case", row) == ["case: network forward is 2 graphs"]


def test_a_launch_or_a_copy_more_is_noticed():
    stored = {"together": {"launches": 333, "copies": 0, "tiny": {"others": 4}}}
    assert step.grown("case", stored, stored) == []
    more = {"together": {"launches": 334, "copies": 1, "tiny": {"others": 5}}}
    assert step.grown("case", more, stored) == [
        "case: launches was 333 and is 334",
        "case: copies was 0 and is 1",
        "case: tiny: others was 4 and is 5",
    ]
