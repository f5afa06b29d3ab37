"""The head: dropout before it changes neither its keys nor the evaluation."""

import torch
from torch import nn
from torch.nn import functional as F

from semisonic.models.ema import shadow_of
from semisonic.models.networks import ModelConfig, build


def test_dropout_before_the_head():
    torch.manual_seed(0)
    plain = build(ModelConfig(name="small"), 5, 16)
    torch.manual_seed(0)
    dropped = build(ModelConfig(name="small", dropout=0.25), 5, 16)
    assert isinstance(plain.head, nn.Linear) and type(plain.head) is nn.Linear
    assert list(plain.state_dict()) == list(dropped.state_dict())
    assert all(value.equal(dropped.state_dict()[key]) for key, value in plain.state_dict().items())
    images = torch.randn(4, 3, 16, 16)
    features = plain.features(images)
    torch.manual_seed(1)
    found = dropped(images)
    torch.manual_seed(1)
    assert found.equal(plain.head(F.dropout(features, 0.25)))
    assert not found.equal(plain(images))
    dropped.head.rate = 0.0
    assert dropped.head(features).equal(plain.head(features))
    dropped.head.rate = 0.25
    shadow = shadow_of(dropped)
    assert shadow.eval()(images).equal(dropped.eval()(images)) and not list(shadow.parameters())
