"""Nothing compiles and nothing waits inside the recording of a step."""

import pytest
import torch

from aot.recording import CASES, broken, slice_of
from semisonic.algorithms.registry import ALGORITHMS
from tests.support.aot_tables import made, wrong

SOME = ["fixmatch", "flexmatch", "enaet", "supervised", "simclr", "rotnet", "comatch"]


def test_every_algorithm_is_recorded():
    assert tuple(ALGORITHMS) == CASES


def test_a_row_that_breaks_a_rule_says_which():
    good = {"graphs": 4, "compiled in the recording": 0, "waits": ""}
    assert broken("fixmatch", good) == []
    assert broken("fixmatch", good | {"compiled in the recording": 2}) == [
        "fixmatch: 2 graphs are compiled in the recording"
    ]
    assert broken("fixmatch", good | {"waits": "aten.nonzero waits"}) == [
        "fixmatch: in the recording, aten.nonzero waits"
    ]


def test_steps_read_parts_of_a_larger_batch():
    parts = [slice_of({"x": torch.arange(8), "none": torch.empty(0)}, number, 4) for number in range(4)]
    assert [part["x"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert parts[3]["x"].storage_offset() == 6 and len(parts[3]["none"]) == 0


@pytest.mark.long
def test_nothing_compiles_or_waits_in_a_recording_and_what_does_is_found():
    table, compiles, waits = made(
        ("recording", "", SOME), ("recording", "compiles", ["fixmatch"]), ("recording", "waits", ["fixmatch"])
    )
    assert wrong("recording", table) == [] and table["rows"].keys() == {*SOME}
    assert all(row["graphs"] > 0 for row in table["rows"].values())
    assert any("compiled in the recording" in line for line in wrong("recording", compiles))
    (line,) = wrong("recording", waits)
    assert "makes the host wait for the GPU" in line


@pytest.mark.long
def test_no_algorithm_compiles_or_waits_in_a_recording():
    (table,) = made(("recording", "", list(CASES)), seconds=3600)
    assert wrong("recording", table) == []
