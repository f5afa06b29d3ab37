"""What methods on both streams have in common: which images count, and which statistics they move."""

import copy

import pytest
import torch
from torch import Tensor

from semisonic.algorithms.base import Algorithm
from semisonic.contract import cut
from tests.support.algorithms import frozen, gradients, same
from tests.support.consistency import each, given, ready


def unlabeled_gradients(kind: type[Algorithm], **fields: object) -> dict[str, Tensor]:
    """Of the unlabeled loss alone: with it minus without it."""
    one, other = ready(kind, **fields), ready(kind, **fields, weight=0.0)
    a, b = gradients(one, given(one)), gradients(other, given(other))
    return {name: a[name] - b[name] for name in a}


@each
@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_the_unlabeled_loss_moves_the_network(kind: type[Algorithm], statistics: str):
    found = unlabeled_gradients(kind, statistics=statistics)
    assert len(found) == 5
    assert all(float(value.abs().max()) > 1e-6 for value in found.values())


@each
@pytest.mark.parametrize("statistics", ["all", "labeled"])
def test_which_images_move_the_running_statistics(kind: type[Algorithm], statistics: str):
    algorithm = ready(kind, statistics=statistics)
    algorithm.network.norm.momentum = 1.0
    batch_given = given(algorithm)
    unlabeled = [algorithm.normalize(view) for name, view in batch_given.u.items() if name != "teacher"]
    counted = [algorithm.normalize(batch_given.x["weak"]), *(unlabeled if statistics == "all" else [])]
    mean = algorithm.network.conv(torch.cat(counted)).mean((0, 2, 3))
    before = copy.deepcopy(algorithm.state_dict())
    algorithm.loss(batch_given)
    torch.testing.assert_close(algorithm.network.norm.running_mean, mean)
    moved = {name for name, value in algorithm.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {f"network.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert algorithm.network.norm.num_batches_tracked == 1


@each
def test_true_labels_of_the_unlabeled_images_never_reach_the_loss(kind: type[Algorithm]):
    algorithm = ready(kind)
    one, poisoned = given(algorithm), given(algorithm, u_true=torch.full((12,), -1))
    assert same(gradients(copy.deepcopy(algorithm), one), gradients(algorithm, poisoned), tolerance=0)


@each
def test_micro_batches_sum_to_the_batch(kind: type[Algorithm]):
    algorithm = frozen(ready(kind))
    whole = gradients(algorithm, given(algorithm))
    algorithm.zero_grad()
    for micro in cut(given(algorithm), 2):
        (algorithm.loss(micro).loss / 2).backward()
    assert same(whole, {name: p.grad for name, p in algorithm.named_parameters()})


@each
def test_the_order_of_the_samples_does_not_matter(kind: type[Algorithm]):
    algorithm, order = ready(kind), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    one = given(algorithm)
    permuted = one._replace(
        u={name: view[order] for name, view in one.u.items()}, u_index=one.u_index[order],
        u_true=one.u_true[order], u_key=one.u_key[order],
    )  # fmt: skip
    assert same(gradients(copy.deepcopy(algorithm), one), gradients(algorithm, permuted), tolerance=1e-10)
