"""Stochastic depth: whole samples are dropped, the mean stays, torchvision's layers are replaced."""

import pytest
import torch
from torch import nn

from semisonic.models.stochastic_depth import StochasticDepth, convert_stochastic_depth


def test_stochastic_depth_keeps_the_mean():
    layer = StochasticDepth(0.3)
    torch.manual_seed(0)
    found = layer(torch.ones(20_000, 2, 1, 1))
    assert not layer.state_dict()
    assert sorted(found.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert torch.equal(found[:, 0], found[:, 1])  # whole samples
    assert found.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(layer.eval()(found), found)


def test_torchvision_s_layers_are_replaced():
    from torchvision.ops import StochasticDepth as Numbered

    layers = convert_stochastic_depth(nn.Sequential(nn.Sequential(Numbered(0.25, "row")), Numbered(0.0, "row")))
    assert isinstance(layers[0][0], StochasticDepth) and layers[0][0].rate == 0.25
    assert isinstance(layers[1], nn.Identity)
    with pytest.raises(ValueError, match="mode must be row"):
        convert_stochastic_depth(nn.Sequential(Numbered(0.1, "batch")))
    with pytest.raises(ValueError, match="rate must be in"):
        StochasticDepth(1.0)
