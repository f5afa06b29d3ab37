"""What the ways to forward the mixed images have in common, and in what they differ."""

import copy

import pytest
import torch
from torch import nn

from semisonic.algorithms.base import Algorithm
from semisonic.algorithms.mixmatch import MixMatch
from semisonic.contract import Batch
from semisonic.models.ema import EmaConfig
from semisonic.models.randomness import Dropout
from semisonic.schema import UserError
from semisonic.studies.forwards import Forwards, by_rank, interleaved
from tests.support.algorithms import TinyNetwork, frozen, gradients, info, mixing_batch, mixmatch, same

WAYS = ("interleaved", "separate", "ranks")
B = 6


def one_to_one() -> Batch:
    """As many unlabeled images as labeled ones."""
    given = mixing_batch()
    draws = {name: value[:B] for name, value in given.draws.items()}
    return given._replace(
        u={name: view[:B] for name, view in given.u.items()},
        u_index=given.u_index[:B], u_true=given.u_true[:B], u_key=given.u_key[:B], draws=draws,
    )  # fmt: skip


def made(forwards: str) -> Algorithm:
    return mixmatch(kind=Forwards, forwards=forwards)


@pytest.mark.parametrize(("count", "rows"), [(3, 64), (3, 6), (2, 5), (4, 3), (1, 7), (9, 64)])
def test_interleaving_twice_gives_the_groups_back(count: int, rows: int):
    groups = list(torch.arange(count * rows).view(count, rows))
    once = interleaved(groups)
    assert {len(group) for group in once} == {rows}
    assert all(torch.equal(a, b) for a, b in zip(interleaved(once), groups, strict=True))


def test_the_first_sub_batch_has_a_share_of_all_groups_and_each_other_one_of_the_first():
    once = interleaved([torch.full((64,), group) for group in range(3)])
    assert [[int((own == group).sum()) for group in range(3)] for own in once] == [
        [21, 21, 22],
        [21, 43, 0],
        [22, 0, 42],
    ]
    with pytest.raises(ValueError, match=r"\[2, 3\] rows"):
        interleaved([torch.zeros(2), torch.zeros(3)])


@pytest.mark.parametrize("forwards", WAYS)
def test_with_fixed_statistics_all_are_the_same_function_of_the_weights(forwards: str):
    given, joined, other = one_to_one(), frozen(mixmatch()), frozen(made(forwards))
    assert not isinstance(joined, Forwards)
    torch.testing.assert_close(other.loss(given).loss, joined.loss(given).loss, rtol=1e-6, atol=0)
    assert same(gradients(joined, given), gradients(other, given), tolerance=1e-6)


def test_in_training_no_two_are():
    given = one_to_one()
    losses = [algorithm.loss(given).loss.item() for algorithm in (mixmatch(), *map(made, WAYS))]
    assert min(abs(a - b) for k, a in enumerate(losses) for b in losses[:k]) > 1e-4


@pytest.mark.parametrize("forwards", WAYS)
def test_each_sub_batch_has_its_own_statistics_and_the_first_moves_the_running_ones(forwards: str):
    algorithm, given = made(forwards), one_to_one()
    target_UC = algorithm.guess(given)
    assert algorithm.network.norm.num_batches_tracked == 0 and not algorithm.network.norm.running_mean.any()
    images, _ = algorithm.mixture(given, target_UC)
    places = torch.arange(len(images)).split(B)  # of every image in the mixture, through the same ways
    parts = {
        "separate": places,
        "interleaved": interleaved(places),
        "ranks": [torch.cat(own) for own in by_rank(places)],
    }[forwards]

    alone = copy.deepcopy(algorithm.network)
    x, _, u, _ = algorithm.mixed(given, target_UC)
    logits = torch.cat([x.logits, u.logits])
    for number, part in enumerate(parts):
        torch.testing.assert_close(logits[part], alone(images[part]), rtol=1e-9, atol=1e-9)
        if number == 0:
            first = copy.deepcopy(alone.norm)
    norm = algorithm.network.norm
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, first.running_mean)
    torch.testing.assert_close(norm.running_var, first.running_var)
    channels = algorithm.network.conv(images[parts[0]]).mean((0, 2, 3)).detach()
    torch.testing.assert_close(norm.running_mean, norm.momentum * channels)


def test_the_guess_of_a_rank_is_by_its_own_rows():
    algorithm, given = made("ranks"), one_to_one()
    half = given._replace(u={name: view[B // 2 :] for name, view in given.u.items()})
    torch.testing.assert_close(algorithm.guess(given)[B // 2 :], mixmatch().guess(half))
    assert torch.equal(made("separate").guess(given), mixmatch().guess(given))


def test_what_does_not_divide_is_named():
    def problems(forwards: str, labeled: int, unlabeled: int, block: int = 2) -> list[str]:
        return Forwards.problems(Forwards.Config(forwards=forwards, block=block), labeled, unlabeled)

    assert problems("interleaved", 8, 8) == problems("separate", 8, 16) == problems("ranks", 8, 16) == []
    (line,) = problems("interleaved", 8, 16)
    assert line == "batch.unlabeled_ratio: 8 labeled and 16 unlabeled images cannot be interleaved; use 1"
    assert problems("ranks", 7, 7)[0] == "algorithm.forwards: 7 and 7 images do not divide over 2 ranks"
    assert problems("ranks", 8, 8, block=8)[0].startswith("algorithm.block: ")  # a rank has 4
    assert problems("separate", 6, 6, block=4) == MixMatch.problems(MixMatch.Config(block=4), 6, 6) != []


class Dropping(TinyNetwork):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(Dropout(0.5), self.head)


def test_a_network_that_draws_and_a_share_of_the_batch_are_refused():
    with pytest.raises(UserError, match=r"algorithm\.forwards: layers that draw random numbers"):
        Forwards(Forwards.Config(block=3), Dropping, info(), EmaConfig())
    given = one_to_one()
    share = given._replace(y=given.y[:3], x={"weak": given.x["weak"][:3]})
    with pytest.raises(UserError, match=r"algorithm\.forwards: is for one process"):
        made("separate").loss(share)
    assert not Forwards.takes_micro_batches(Forwards.Config())
