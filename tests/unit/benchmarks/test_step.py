"""The stored counts of a step's generated code are those of this checkout."""

import json
import sys
from pathlib import Path

import pytest

import without_gpu
from aot import other_steps, step
from tests.support.processes import Start

triton = pytest.importorskip("triton")
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
QUICK = "fixmatch, wrn-10-2"


def check(start: Start, *arguments: str, seconds: float) -> None:
    child = start(sys.executable, Path(without_gpu.__file__), *arguments, "--check")
    said, _ = child.communicate(timeout=seconds)
    assert child.returncode == 0, said[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler")
def test_no_count_of_fixmatch_has_grown(start: Start):
    check(start, "step", "--only", QUICK, seconds=600)


@pytest.mark.long
@pytest.mark.skipif(not ASSEMBLER.exists(), reason="this Triton comes without NVIDIA's assembler")
def test_no_count_of_other_steps_has_grown(start: Start):
    check(start, "step", "other-steps", seconds=3000)


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


def test_what_was_counted_before_is_stored():
    """The 59 casts, 25 counters and 102 later stages of reductions were counted by hand as about 185 tiny kernels; 43,
    25 and 60 of them, and some of the loss, are below 256 KiB."""
    row = json.loads(step.BEFORE.read_text())["rows"]["fixmatch, wrn-28-2"]
    kinds, tiny = row["together"]["by kind"], row["together"]["tiny"]
    assert kinds["casts of weights"] + kinds["casts of weight gradients"] == 59 and kinds["counter additions"] == 25
    assert 180 < sum(kinds.values()) - kinds["others"] < 190 and sum(tiny.values()) == row["together"]["tiny together"]
    assert step.broken("before", row | {"in local memory": []}) == []


def test_one_kernel_of_mpl_may_spill_as_it_does_and_no_other():
    one = {"kernel": f"{other_steps.SPILLING}_27", "first": True, "configuration": "", "registers": 32, "stack": 8,
           "local": 0, "spills": 2}  # fmt: skip
    row = {"graphs of each": {"teacher teach forward": 1}, "in local memory": [one]}
    assert other_steps.broken("mpl", row) == [] != step.broken("mpl", row)
    for more in ([one, dict(one)], [one | {"spills": 3}], [one | {"kernel": "another"}]):
        assert other_steps.broken("mpl", row | {"in local memory": more}) != []
