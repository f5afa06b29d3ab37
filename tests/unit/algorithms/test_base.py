"""What every algorithm inherits: normalization, forwards that move no state, losses that read no true label."""

import copy

import pytest
import torch

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.fixmatch import FixMatch
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.algorithms.supervised import Supervised
from tests.support.algorithms import SIZE, batch, frozen, gradients, images, info, make, same, tiny_network


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_true_labels_of_the_unlabeled_images_never_reach_the_loss(kind: type[Algorithm]):
    algorithm = make(kind)
    poisoned = batch(u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), batch()), gradients(algorithm, poisoned), tolerance=0)


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_loss_writes_no_state_but_running_statistics(kind: type[Algorithm]):
    algorithm = make(kind)
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    algorithm.loss(batch())
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"network.norm.running_mean", "network.norm.running_var", "network.norm.num_batches_tracked"}
    assert algorithm.network.norm.num_batches_tracked == 1


@pytest.mark.parametrize("kind", [Supervised, FixMatch])
def test_micro_batches_sum_to_the_batch(kind: type[Algorithm]):
    """Constant normalizers: the mean over equal slices is the whole, BatchNorm in evaluation mode."""
    algorithm = frozen(make(kind, **({"threshold": 0.3} if kind is FixMatch else {})))
    whole = gradients(algorithm, batch())
    algorithm.zero_grad()
    for half in (0, 1):
        given = batch()
        micro = given._replace(
            x={"weak": given.x["weak"].chunk(2)[half]}, y=given.y.chunk(2)[half],
            u={name: view.chunk(2)[half] for name, view in given.u.items()}, u_true=given.u_true.chunk(2)[half],
        )  # fmt: skip
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})


def test_ema_forward_in_training_mode_moves_no_statistics():
    algorithm = make(FixMatch)
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    algorithm.classify(images(8, 5), module="ema")
    algorithm.classify(images(8, 5), track=False)
    assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())


def test_normalize():
    algorithm = Supervised(Supervised.Config(), tiny_network, info())
    white = torch.full((1, 3, SIZE, SIZE), 255, dtype=torch.uint8)
    channels = algorithm.normalize(white)[0, :, 0, 0]
    torch.testing.assert_close(channels, torch.tensor([0.5 / 0.2, 0.6 / 0.3, 0.7 / 0.25]))


RAMPS: list[tuple[str, dict[str, object], float]] = [
    ("supervised", {}, 0),
    ("fixmatch", {}, 0),
    ("mean-teacher", {"ramp": 0.25}, 250),
    ("mixmatch", {"ramp": 300}, 300),
    ("temporal-ensembling", {"ramp": 0}, 0),
    ("uda", {}, 0),
    ("uda", {"annealing": "log"}, 1000),
    ("policy-mixmatch", {"policy": "percentile-train"}, 0),
    ("policy-mixmatch", {"policy": "mixed"}, 400),
    ("policy-mixmatch", {"policy": "mixed", "ramp": 0.1}, 100),
    ("policy-mixmatch", {"policy": "manual", "fall": 0.5}, 500),
    ("policy-mixmatch", {"policy": "fixed", "fall": 0.5}, 0),
    ("dash", {"epoch": 0.001}, 1 + 9 * 20),
    ("dash", {"epoch": 2, "rule": "usb", "warm_up": 5, "fall_every": 3, "gamma": 10}, 2 * (5 + 3 * 2)),
    ("dash", {"epoch": 2, "gamma": 1}, 20),
    ("mpl", {}, 10 + 16),
    ("mpl", {"uda_steps": 500}, 500),
    ("mpl", {"uda_steps": 500, "variant": "plain", "wait": 3, "warm_up": 4}, 7),
    ("enaet", {"ramp": 0}, 100),
    ("enaet", {"ramp": 0.5, "slopes": (1.0, 0, 0, 0, 0), "most": (2.0, 1, 1, 1, 1)}, 1000),
]  # fmt: skip


@pytest.mark.parametrize("name, fields, end", RAMPS)
def test_an_algorithm_says_when_its_ramps_are_over(name: str, fields: dict[str, object], end: float):
    kind = ALGORITHMS[name]
    assert kind.ramped(kind.Config(**fields), 1000) == pytest.approx(end)


def test_every_field_of_a_ramp_is_known_to_what_says_when_it_is_over():
    """A new algorithm with one of these fields states `ramped`, or has it from the field `ramp`."""
    for name, kind in ALGORITHMS.items():
        fields = {"fall", "fall_every", "wait", "annealing", "uda_steps"} & kind.Config.model_fields.keys()
        assert not fields or "ramped" in vars(kind), f"{name}: {fields}"
