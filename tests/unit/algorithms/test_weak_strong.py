"""What methods of a weak and a strong view share: their views, and the forwards that the network sees them in."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.flexmatch import FlexMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.uda import UDA
from semisonic.algorithms.weak_strong import WeakStrong
from semisonic.models.blocks import use_blocks
from semisonic.models.ema import EmaConfig
from semisonic.models.frozen import freeze
from semisonic.models.networks import ModelConfig, build
from semisonic.models.norm import BatchNorm2d, StartUp
from semisonic.models.randomness import Dropout
from tests.support.addons import composed
from tests.support.algorithms import (
    CLASSES,
    SIZE,
    TinyNetwork,
    batch,
    batch_for,
    frozen,
    gradients,
    images,
    info,
    make,
    same,
)
from tests.support.runner import Runner

KINDS = [kind for kind in ALGORITHMS.values() if issubclass(kind, WeakStrong)]
THRESHOLD = 0.465
"""Some guesses reach it, and some do not."""
each = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.Config().name)


def separate(kind: type[WeakStrong] = FixMatch, **fields: object) -> Any:
    return joint(kind, weak_pass="separate", **fields)


def joint(kind: type[WeakStrong] = FixMatch, **fields: object) -> Any:
    own = {"threshold": THRESHOLD} if "threshold" in kind.Config.model_fields else {}
    return make(kind, **(own | fields))


def on(network: Callable[[], nn.Module], autocast: torch.dtype | None = None, **fields: object) -> Any:
    torch.manual_seed(0)
    return FixMatch(FixMatch.Config(**({"threshold": THRESHOLD} | fields)), network, info(), EmaConfig(), autocast)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers() if "running_" in name or "tracked" in name}


def forwards(algorithm: Any) -> list[tuple[int, bool]]:
    """Notes every forward of the features from now on: its images, and whether it keeps a graph."""
    noted: list[tuple[int, bool]] = []
    features = algorithm.network.features

    def call(x: Tensor) -> Tensor:
        noted.append((len(x), torch.is_grad_enabled()))
        return features(x)

    algorithm.network.features = call
    return noted


def test_the_fields_and_their_defaults_are_those_of_before():
    shared = {"weight": 1.0, "weak": "weak", "strong": "fixmatch", "weak_pass": "joint"}
    for kind, own in (
        (FixMatch, {"name": "fixmatch", "threshold": 0.95}),
        (FlexMatch, {"name": "flexmatch", "threshold": 0.95, "warm_up": True, "mapping": "convex"}),
        (UDA, {"name": "uda", "threshold": 0.8, "temperature": 0.4, "annealing": "none"}),
    ):
        found = kind.Config().model_dump()
        assert (shared | own).items() <= found.items()


@each
def test_its_views_are_the_configured_ones(kind: type[WeakStrong]):
    views = kind.views(kind.Config(weak="noise(0.1)", strong="randaugment(2,5)"))
    assert views.unlabeled["weak"] == views.labeled["weak"] == "noise(0.1)"
    assert {spec for name, spec in views.unlabeled.items() if name != "weak"} == {"randaugment(2,5)"}


def test_there_are_two_ways_and_no_third():
    """The gradient cut inside the joint batch costs accuracy, and is not offered."""
    with pytest.raises(ValidationError, match="weak_pass"):
        FixMatch.Config(weak_pass="detached")


@each
def test_the_forwards_of_both_ways(kind: type[WeakStrong]):
    """A method may have others before."""
    one, two = joint(kind), separate(kind)
    found, expected, given = forwards(two), forwards(one), batch_for(one)
    one.loss(given), two.loss(given)
    labeled, strong = 6 * len(given.x), 12 * (len(given.u) - 1)
    *before, whole = expected
    assert whole == (labeled + 12 + strong, True)
    assert found == [*before, (labeled + 12, False), (labeled + strong, True)]


def test_guesses_have_no_gradient_and_all_else_has():
    x, weak, strong = separate().look_at(batch())
    for seen, has in ((x, True), (weak, False), (strong, True)):
        assert seen.logits.requires_grad == seen.features.requires_grad == has
    assert len(x.logits) == 6 and len(weak.logits) == len(strong.logits) == 12


@each
def test_running_statistics_move_as_by_one_forward_of_labeled_and_weak_views(kind: type[WeakStrong]):
    algorithm = separate(kind)
    given, plain, ema = batch_for(algorithm), copy.deepcopy(algorithm.network), statistics(algorithm.ema)
    with torch.no_grad():
        plain(algorithm.normalize(torch.cat([*given.x.values(), given.u["weak"]])))
    algorithm.loss(given).loss.backward()
    assert same(statistics(algorithm.network), statistics(plain), 0)
    assert plain.norm.num_batches_tracked == 1 and same(statistics(algorithm.ema), ema, 0)


def test_strong_views_have_no_part_in_the_running_statistics():
    one, two, given = separate(), separate(), batch()
    one.loss(given), two.loss(given._replace(u={**given.u, "strong": images(12, 77)}))
    assert same(statistics(one.network), statistics(two.network), 0)


def test_statistics_that_start_afresh_do_so_by_the_first_forward():
    """Of the first step they are those of its labeled and weak views, whatever the momentum."""
    algorithm, given = separate(), batch()
    algorithm.start_up, algorithm.network.norm.start_up = StartUp(10.0), True
    algorithm.loss(given)
    views = algorithm.normalize(torch.cat([given.x["weak"], given.u["weak"]]))
    mean = algorithm.network.conv(views).mean((0, 2, 3))
    torch.testing.assert_close(algorithm.network.norm.running_mean, mean)


@each
def test_with_frozen_statistics_both_ways_are_one(kind: type[WeakStrong]):
    one, two = frozen(joint(kind)), frozen(separate(kind))
    given = batch_for(one)
    assert same(gradients(one, given), gradients(two, given))
    found, expected = two.loss(given), one.loss(given)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-13, atol=0)
    for name, value in expected.observed.items():
        torch.testing.assert_close(found.observed[name], value)


def test_equals_its_equation_in_training():
    """Guesses by the statistics of labeled and weak views, gradients by those of labeled and strong ones."""
    algorithm, given = separate(threshold=THRESHOLD, weight=2.0), batch()
    network = copy.deepcopy(algorithm.network)
    x, weak, strong = map(algorithm.normalize, (given.x["weak"], given.u["weak"], given.u["strong"]))
    q = network(torch.cat([x, weak]))[6:].detach().softmax(-1)
    logits = network(torch.cat([x, strong]))
    kept = (q.max(-1).values >= THRESHOLD).double()
    assert 0 < kept.sum() < 12
    each_U = kept * F.cross_entropy(logits[6:], q.argmax(-1), reduction="none")
    (F.cross_entropy(logits[:6], given.y) + 2.0 * each_U.mean()).backward()
    expected = {f"network.{name}": parameter.grad for name, parameter in network.named_parameters()}
    assert same(gradients(algorithm, given), expected)


class Cut(TinyNetwork):
    """What is not offered: in the joint batch weak views are part of the statistics, and constant in the backward."""

    def features(self, x: Tensor) -> Tensor:
        labeled, weak, strong = self.conv(x).split([6, 12, 12])
        return self.norm(torch.cat([labeled, weak.detach(), strong])).mean((2, 3))


def test_is_not_the_joint_batch_with_its_gradient_cut():
    given = batch()
    here, there, whole = (
        gradients(on(network, weak_pass=way, threshold=0.0).double(), given)
        for network, way in ((TinyNetwork, "separate"), (Cut, "joint"), (TinyNetwork, "joint"))
    )
    for one, two in ((here, there), (here, whole), (there, whole)):
        assert not same(one, two, 1e-4)


def test_several_labeled_and_strong_views_go_the_same_ways():
    algorithm = frozen(separate())
    views = [images(6, 1), images(6, 4)], images(12, 2), [images(12, 3), images(12, 5), images(12, 6)]
    noted = forwards(algorithm)
    labeled, weak, strong = algorithm.look_at_views(*views)
    assert noted == [(24, False), (48, True)]
    other = frozen(joint()).look_at_views(*views)
    for one, two in zip((*labeled, weak, *strong), (*other[0], other[1], *other[2]), strict=True):
        torch.testing.assert_close(one.logits, two.logits)


class Normalized(nn.Module):
    """A network whose images have nothing to do with one another."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 4, 3, bias=False), nn.GroupNorm(2, 4), Dropout(rate)
        self.head, self.feature_dim = nn.Linear(4, CLASSES), 4

    def features(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.conv(x)).relu().mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def frozen_backbone() -> nn.Module:
    network = TinyNetwork()
    freeze(network, "backbone")
    return network


@pytest.mark.parametrize("network", [Normalized, frozen_backbone])
def test_without_statistics_of_a_batch_labeled_images_are_seen_once(network: Callable[[], nn.Module]):
    """And both ways are the same method in training, too."""
    one, two = on(network).double(), on(network, weak_pass="separate").double()
    before, noted = statistics(two), forwards(two)
    assert same(gradients(one.train(), batch()), gradients(two.train(), batch()))
    assert noted == [(12, False), (18, True)] and same(statistics(two), before, 0)


def test_layers_that_draw_do_so_in_both_forwards_by_counter():
    """The labels come from other draws than the gradients, the same whenever a step is taken."""
    given, drawn = batch(), []

    def step() -> dict[str, Tensor]:
        algorithm = on(lambda: Normalized(0.5), weak_pass="separate", threshold=0.0).double()
        algorithm.network.dropout.register_forward_hook(lambda layer, args, out: drawn.append(out.detach() == 0))
        torch.manual_seed(len(drawn))
        algorithm(given).loss.backward()
        return {name: parameter.grad for name, parameter in algorithm.named_parameters()}

    assert same(step(), step(), 0)
    guessed, trained, guessed_again, trained_again = drawn
    assert torch.equal(guessed, guessed_again) and torch.equal(trained, trained_again)
    assert not torch.equal(guessed, trained[6:]) and 0.2 < guessed.double().mean() < 0.9


def test_recomputation_changes_no_bit():
    """Where blocks run again in the backward: the same gradients, and running statistics that moved once."""
    found = []
    for again in (False, True):
        cfg = ModelConfig(name="wrn-10-1")
        algorithm = on(lambda cfg=cfg: build(cfg, CLASSES, SIZE), weak_pass="separate", threshold=0.0)
        if again:
            assert use_blocks(algorithm, recompute=True, compiled=False) > 3
        found.append(gradients(algorithm, batch()) | statistics(algorithm.network))
        assert all(m.num_batches_tracked == 1 for m in algorithm.network.modules() if isinstance(m, BatchNorm2d))
    assert same(*found, 0)


def test_half_precision_loses_no_gradient():
    """Weights that were cast without a graph in the first forward are cast anew in the second."""
    one, two = (frozen(on(TinyNetwork, torch.bfloat16, weak_pass=way)) for way in ("joint", "separate"))
    expected, found = gradients(one, batch()), gradients(two, batch())
    assert found.keys() == dict(two.named_parameters()).keys()
    assert same(found, expected, 1e-2) and all(value.any() for value in found.values())


def test_the_average_follows_the_network_and_its_statistics():
    algorithm = separate()
    algorithm.ema_cfg = EmaConfig(decay=0.9, start_up="none", buffers="copied")
    before = algorithm.ema.conv.weight.clone()
    Runner(algorithm).step(batch())
    expected = 0.9 * before + 0.1 * algorithm.network.conv.weight
    torch.testing.assert_close(algorithm.ema.conv.weight, expected)
    assert same(statistics(algorithm.ema), statistics(algorithm.network), 0)


def test_add_ons_read_what_was_seen():
    """Losses on features of the strong view reach the network; margins are those of the labeled view."""
    given: dict[str, Any] = {"auxiliary": {"rotation": 1.0, "simclr": 1.0}, "aum": {"record": "on"}}
    outputs = {}
    for way in ("joint", "separate"):
        algorithm = composed(FixMatch, {"weak_pass": way, "threshold": 0.0}, **given).eval()
        outputs[way] = algorithm(batch_for(algorithm))
        outputs[way].loss.backward()
        assert all(parameter.grad is not None for parameter in algorithm.parameters())
    one, two = outputs["joint"], outputs["separate"]
    torch.testing.assert_close(one.loss, two.loss)
    assert one.observed.keys() == two.observed.keys() and any(name.startswith("aum/") for name in one.observed)
    for name, value in one.observed.items():
        torch.testing.assert_close(two.observed[name], value)
