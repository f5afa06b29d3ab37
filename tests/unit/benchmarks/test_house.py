"""How the code is laid out, as benchmarks/house.py counts it."""

import sys
from itertools import pairwise

import pytest

import house


@pytest.mark.filterwarnings("ignore:The external source node")
def test_a_step_changes_file_at_most_twenty_one_times():
    with_margins = house.trace_step()
    passed = house.trace_step("--addons.aum.record", "off")
    files = [line.partition(":")[0] for line in passed]
    assert len(passed) - 1 <= 21
    assert len(with_margins) <= len(passed) + 4  # to an add-on and back, in the forward and after the step
    assert all(one != other for one, other in pairwise(files))
    assert {
        "training/step.py",
        "distributed/engine.py",
        "contract.py",
        "algorithms/base.py",
        "algorithms/fixmatch.py",
    } <= set(files)
    assert not any(file.startswith(("models/", "/")) for file in files)
    assert sys.getprofile() is None
