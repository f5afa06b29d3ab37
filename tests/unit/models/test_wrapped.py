"""Networks of the user's own: wrapped bit for bit, and refused by name where they do not fit."""

import copy

import pytest
import torch
from torch import Tensor, nn

from semisonic.models.networks import ModelConfig, build, model_problems
from semisonic.models.norm import BatchNorm2d
from semisonic.models.randomness import Dropout
from semisonic.models.small import Small
from semisonic.models.wrapped import WrappedNetwork, build_given, network_fingerprint
from semisonic.schema import UserError
from tests.support.networks import images
from tests.support.python_data import OwnNet

GIVEN = ModelConfig(name="given", fingerprint="any")


def test_the_wrapped_network_is_the_module_bit_for_bit():
    torch.manual_seed(0)
    theirs = OwnNet(5)
    wrapped = build_given(lambda classes: copy.deepcopy(theirs), 5, 32)
    assert isinstance(wrapped, WrappedNetwork) and wrapped.training
    assert (wrapped.head_path, wrapped.feature_dim) == ("classifier", 16)
    expected = theirs.eval()(images())
    wrapped.eval()
    assert wrapped(images()).equal(expected) and wrapped.head(wrapped.features(images())).equal(expected)
    assert copy.deepcopy(wrapped)(images()).equal(expected)
    names = {f"body.{name}" for name in theirs.state_dict() if not name.startswith("classifier.")}
    assert wrapped.state_dict().keys() == names | {"head.weight", "head.bias"}


def test_layers_are_those_of_the_engine_and_the_random_weights_the_generator_s():
    torch.manual_seed(3)
    first = build(GIVEN, 5, 32, OwnNet)
    torch.manual_seed(3)
    theirs = OwnNet(5)
    assert first.head.weight.equal(theirs.classifier.weight) and first.body.conv.weight.equal(theirs.conv.weight)
    assert isinstance(first.body.norm, BatchNorm2d) and isinstance(first.body.dropout, Dropout)
    assert int(first.body.norm.num_batches_tracked) == 0 and first.body.dropout.training
    changed = build(GIVEN.model_copy(update={"dropout": 0.5, "norm_momentum": 0.3}), 5, 32, OwnNet)
    assert changed.head.rate == 0.5 and changed.body.norm.momentum == 0.3


def test_features_are_one_graph():
    network = build(GIVEN, 5, 32, OwnNet).eval()
    compiled = torch.compile(network.features, fullgraph=True, dynamic=False, backend="eager")
    assert compiled(images()).equal(network.features(images()))


class Twice(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + super().forward(images)


class Looks(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (self.classifier.weight.ndim / 2)


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), *layers)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (lambda classes: flat(nn.Linear(12, classes), nn.Softmax(1)), "is not that of its last nn.Linear (2)"),
        (lambda classes: flat(nn.Linear(12, 7)), "makes [2, 7] of 2 images; logits [2, 5] are needed"),
        (
            lambda classes: nn.Sequential(nn.Conv2d(3, classes, 32), nn.Flatten()),
            "no nn.Linear of Sequential is called",
        ),
        (lambda classes: flat(nn.Linear(9, classes)), "its forward fails on float images [2, 3, 32, 32]: RuntimeError"),
        (lambda classes: flat(nn.BatchNorm1d(12), nn.Linear(12, classes)), "BatchNorm1d (2) has running statistics"),
        (lambda classes: flat(nn.Linear(12, classes), nn.Linear(5, classes)), None),
        (lambda classes: 3, "called with 5, it returned no nn.Module but int"),
        (Twice, "is not that of its last nn.Linear (classifier)"),
        (Looks, "its forward fails on float images"),
        (
            lambda classes: nn.Sequential(nn.BatchNorm2d(3, momentum=None), flat(nn.Linear(12, classes))),
            "momentum None",
        ),
    ],
)
def test_networks_that_do_not_fit(factory, expected: str | None):
    if expected is None:
        assert build_given(factory, 5, 32).head_path == "3"
        return
    with pytest.raises(UserError) as caught:
        build_given(factory, 5, 32)
    assert expected in str(caught.value) and str(caught.value).startswith("network: ")


def test_a_layer_s_number_is_not_in_the_fingerprint():
    """Which runs of earlier versions have noted, whose layers had none."""
    network = build(GIVEN, 5, 32, OwnNet)
    before = network_fingerprint(network)
    assert "body.dropout.layer" in dict(network.named_buffers())
    del network.body.dropout.layer
    assert network_fingerprint(network) == before


def test_fingerprints_tell_structures_apart_and_not_weights():
    one, two = build(GIVEN, 5, 32, OwnNet), build(GIVEN, 5, 32, OwnNet)
    assert not one.head.weight.equal(two.head.weight) and network_fingerprint(one) == network_fingerprint(two)
    wider = build(GIVEN, 5, 32, lambda classes: OwnNet(classes, 12))
    other = build(GIVEN, 6, 32, OwnNet)
    assert len({network_fingerprint(net) for net in (one, wider, other)}) == 3


def test_no_configuration_builds_one():
    assert model_problems(GIVEN, 32) == []
    for cfg in (ModelConfig(name="given"), ModelConfig(name="small", fingerprint="any")):
        (problem,) = model_problems(cfg, 32)
        assert problem.startswith("model.name: given is a network of your own, in Python")
    with pytest.raises(UserError, match="model: the network was given in Python"):
        build(GIVEN, 5, 32)


def test_a_network_of_the_engine_s_own_kind_stays_as_it_is():
    network = build(GIVEN, 5, 16, Small)
    assert isinstance(network, Small) and network.training

    class Wrong(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + 1

    with pytest.raises(UserError, match=r"head\(features\(images\)\) is not what it makes"):
        build(GIVEN, 5, 16, Wrong)


class Scaled(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (5 if self.training else 1)


class Pair(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return (logits, logits) if self.training else logits  # type: ignore[return-value]


class Fails(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("boom")
        return super().forward(images)


class Draws(OwnNet):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + torch.rand_like(images))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Scaled, "in training its output is not that of its last nn.Linear"),
        (Pair, "in training its output is not that of its last nn.Linear"),
        (Fails, "its forward fails on float images .* RuntimeError: boom"),
        (Draws, "in evaluation mode it gives two answers for the same images"),
        (lambda classes: OwnNet(classes).requires_grad_(False), "none of its parameters is trained"),
    ],
)
def test_a_network_is_tried_in_training_too(factory, message: str):
    with pytest.raises(UserError, match=message):
        build_given(factory, 5, 32)


def test_trying_a_network_leaves_its_statistics_and_the_generator_as_they_were():
    torch.manual_seed(4)
    network = build_given(OwnNet, 5, 32)
    after = torch.rand(())
    torch.manual_seed(4)
    theirs = OwnNet(5)
    assert torch.rand(()) == after
    for name, buffer in theirs.named_buffers():
        assert torch.equal(buffer, network.body.get_buffer(name)), name
