"""The tensors of a network without their memory, and what keeps others from being those."""

import pytest
import torch
from torch import nn

from semisonic.models.networks import ModelConfig, build
from semisonic.models.outline import fill, misfits, outline
from semisonic.schema import UserError


@pytest.mark.parametrize("name", ["small", "wrn-10-2", "resnet18", "shake-shake-8-2x4d"])
def test_an_outline_is_of_the_network(name: str):
    cfg = ModelConfig(name=name)
    wanted, real = outline(cfg, 3, 32), build(cfg, 3, 32).state_dict()
    assert wanted is not None and misfits(wanted, real) == []
    assert all(tensor.is_meta for tensor in wanted.values()) and wanted.keys() == real.keys()


def test_a_giant_network_takes_no_memory():
    wanted = outline(ModelConfig(name="wrn-28-64"), 10**6, 32)
    assert wanted is not None and sum(tensor.numel() for tensor in wanted.values()) > 5 * 10**9


def test_each_kind_of_misfit_has_a_line():
    wanted = {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}
    given = {"b": torch.zeros(3), "c": torch.zeros(2, dtype=torch.int64), **{f"d{i}": torch.zeros(1) for i in range(7)}}
    assert misfits(wanted, given) == [
        "the checkpoint lacks a", "the network has no d0, d1, d2, d3, d4 and 2 more", "of another shape: b ([3], not [2])",
        "of another type: c (torch.int64, not torch.float32)",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"^model.safetensors is not of this run: of another shape: weight"):
        fill(nn.Linear(2, 2), {"weight": torch.zeros(3), "bias": torch.zeros(2)}, "model.safetensors")
