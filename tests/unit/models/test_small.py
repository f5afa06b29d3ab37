"""The small network: its size, and that every parameter lives."""

import torch

from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import BatchNorm2d
from tests.support.networks import parameters, without_gradient


def test_small_network() -> None:
    network = build(ModelConfig(name="small"), 10, 16)
    assert 50_000 < parameters(network) < 150_000
    assert without_gradient(network, 16) == {}
    assert {m.momentum for m in network.modules() if isinstance(m, BatchNorm2d)} == {0.1}
    assert network(torch.zeros(2, 3, 28, 28)).shape == (2, 10)
