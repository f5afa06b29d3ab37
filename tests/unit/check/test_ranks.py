"""What differs between one process and two ranks is named, the buffer before what it moves."""

import copy
from typing import Any

import pytest
import torch

from semisonic.check.properties import Failed
from semisonic.check.ranks import STEPS, ranks_equal_one_process


def result() -> dict[str, Any]:
    state = {"network.weight": torch.ones(3).double(), "tau": torch.tensor(0.5).double(), "step": torch.tensor(6)}
    kinds = {"network.weight": "parameter", "tau": "buffer", "step": "buffer"}
    return {"losses": [float(step) for step in range(1, STEPS + 1)], "state": state, "kinds": kinds}


def test_equal_ones_pass_with_rounding():
    one, two = result(), result()
    two["state"]["tau"] += 1e-12
    two["losses"][2] *= 1 + 1e-12
    assert ranks_equal_one_process(one, two, copy.deepcopy(two)) == f"{STEPS} losses and 3 tensors equal to 1e-10"


def test_a_buffer_is_named_before_what_it_moves():
    one, two = result(), result()
    two["state"]["tau"] += 1e-6
    two["state"]["network.weight"] += 1e-3
    two["losses"][1:] = [value + 1e-6 for value in two["losses"][1:]]
    with pytest.raises(Failed, match="buffer tau differs by 2e-06 of its size and the loss differs from step 2 on"):
        ranks_equal_one_process(one, two, copy.deepcopy(two))


def test_a_loss_alone_is_enough():
    one, two = result(), result()
    two["losses"][0] += 1e-6
    with pytest.raises(Failed, match=r"on two ranks the loss differs from step 1 on .*observed"):
        ranks_equal_one_process(one, two, copy.deepcopy(two))


def test_ranks_that_part_are_told():
    one, two, other = result(), result(), result()
    other["state"]["tau"] += 1e-12
    with pytest.raises(Failed, match="buffer tau differs between the ranks"):
        ranks_equal_one_process(one, two, other)
