"""The order of the samples is a function of the global sample number alone."""

import numpy as np
import pytest

from semisonic.contract import ALONE, Rank
from semisonic.data.loading import draws
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.sampler import BalancedSampler, EvaluationSampler, Sampler, TrainingSampler
from semisonic.data.loading.sizes import Sizes

PINNED = [[45, 38, 26, 30, 24, 13, 18, 34], [7, 23, 0, 3, 36, 15, 11, 16]]


def test_orders_are_those_of_version_0_1():
    for stream, expected in zip(("labeled", "unlabeled"), PINNED, strict=True):
        assert sampler(3, stream, size=50, batch=8).indices(0).tolist() == expected


def sampler(seed: int, stream: str, size: int, batch: int, rank: Rank = ALONE, micro: int = 1) -> TrainingSampler:
    return TrainingSampler(Draws(seed, stream), size, batch, rank, micro)


def numbers(source: Sampler, steps: int) -> np.ndarray:
    return np.concatenate([source.indices(step) for step in range(steps)])


def test_each_epoch_is_a_permutation_of_the_images():
    order = numbers(sampler(0, "unlabeled", size=10, batch=4), steps=5)
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert list(order[:10]) != list(order[10:])


def test_few_images_repeat_inside_a_batch():
    order = numbers(sampler(0, "labeled", size=3, batch=7), steps=3)
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in range(0, 21, 3))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_order(world_size):
    whole = sampler(3, "unlabeled", 50, 16)
    ranks = [sampler(3, "unlabeled", 50, 16, Rank(rank, world_size)) for rank in range(world_size)]
    for step in (0, 1, 7):
        joined = np.concatenate([rank.indices(step) for rank in ranks])
        np.testing.assert_array_equal(joined, whole.indices(step))


def test_a_micro_batch_holds_the_same_samples_at_every_world_size():
    one = sampler(3, "unlabeled", 50, 16, micro=2)
    ranks = [sampler(3, "unlabeled", 50, 16, Rank(rank, 2), micro=2) for rank in (0, 1)]
    for step in (0, 3):
        assert sorted(one.indices(step)) == sorted(np.concatenate([rank.indices(step) for rank in ranks]))
        for part in (0, 1):
            joined = np.concatenate([rank.indices(step).reshape(2, 4)[part] for rank in ranks])
            np.testing.assert_array_equal(joined, one.indices(step).reshape(2, 8)[part])


@pytest.mark.parametrize("size", [3, 7, 50, 1000])
@pytest.mark.parametrize("world_size, micro", [(1, 1), (2, 1), (2, 2)])
def test_several_steps_at_once_are_these_steps(size, world_size, micro):
    for rank in range(world_size):
        source = sampler(3, "unlabeled", size, 16, Rank(rank, world_size), micro)
        for step, count in ((0, 4), (5, 3)):
            for method in (source.numbers, source.indices):
                singly = np.concatenate([method(s) for s in range(step, step + count)])
                np.testing.assert_array_equal(method(step, count), singly)
            assert (np.diff(source.numbers(step, count)) > 0).all()


def test_order_does_not_depend_on_the_batch_size():
    small, large = sampler(1, "unlabeled", 20, 4), sampler(1, "unlabeled", 20, 12)
    np.testing.assert_array_equal(numbers(small, 6), numbers(large, 2))


def test_seeds_and_streams_have_orders_of_their_own():
    orders = [tuple(numbers(sampler(seed, stream, 30, 30), 1)) for seed in (0, 1) for stream in ("a", "b")]
    assert len(set(orders)) == 4


def test_numbers_are_the_same_on_every_machine():
    """A change of these breaks the reproducibility of every earlier run."""
    np.testing.assert_allclose(
        draws.uniforms(0, "test", np.array([7]), 4)[0], [0.56078919, 0.38335793, 0.61265969, 0.88470741], rtol=1e-7
    )
    assert draws.permutation(0, "test", 6).tolist() == [4, 2, 1, 0, 3, 5]
    assert sampler(0, "unlabeled", 5, 4).indices(1).tolist() == [2, 2, 3, 1]
    assert (
        draws.sample_keys(0, "test", np.array([0, 7])).tolist()
        == draws.sample_keys(0, "test", np.arange(8))[[0, 7]].tolist()
    )


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_evaluation_reads_every_image_once_and_then_the_last_one_again(world_size):
    ranks = [EvaluationSampler(10, 2, Rank(rank, world_size)) for rank in range(world_size)]
    steps = ranks[0].steps
    assert steps * 2 * world_size >= 10 > (steps - 1) * 2 * world_size
    numbers = np.concatenate([rank.numbers(step) for step in range(steps) for rank in ranks])
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    indices = np.concatenate([rank.indices(step) for step in range(steps) for rank in ranks])
    np.testing.assert_array_equal(indices, np.minimum(numbers, 9))
    valid = np.concatenate([rank.valid(step) for step in range(steps) for rank in ranks])
    assert indices[valid].tolist() == list(range(10))
    for method in (ranks[-1].numbers, ranks[-1].indices):
        np.testing.assert_array_equal(method(1, 3), np.concatenate([method(step) for step in (1, 2, 3)]))


def balanced(rank: Rank = ALONE, micro: int = 1) -> BalancedSampler:
    """Of three classes with 2, 5 and 1 of 8 images; 12 samples a step."""
    labels = np.array([1, 0, 4, 1, 1, 0, 1, 1])
    return BalancedSampler(Draws(3, "own"), 8, 12, rank, micro, labels=labels)


def test_balanced_draws_have_every_class_equally_often_and_every_image_of_a_class():
    own = balanced()
    order = own.indices(0, 10)
    assert order.tolist() == numbers(own, 10).tolist()
    for block in own.labels[order].reshape(-1, 3):
        assert sorted(block) == [0, 1, 4]
    of_one = order[own.labels[order] == 1]
    assert all(sorted(epoch) == [0, 3, 4, 6, 7] for epoch in of_one.reshape(-1, 5))
    assert len({tuple(epoch) for epoch in of_one.reshape(-1, 5)}) > 1
    assert len({tuple(own.labels[block]) for block in order.reshape(-1, 3)}) > 1


@pytest.mark.parametrize("micro", [1, 3])
def test_balanced_draws_are_shared_by_ranks_as_others_are(micro: int):
    whole, ranks = balanced(micro=micro), [balanced(Rank(rank, 2), micro) for rank in (0, 1)]
    for step in (0, 5):
        parts = [rank.indices(step).reshape(micro, -1) for rank in ranks]
        np.testing.assert_array_equal(np.concatenate(parts, 1).ravel(), whole.indices(step))


GROWN = Sizes((0, 3, 7), (4, 8, 16))


def growing(rank: Rank = ALONE, micro: int = 1) -> TrainingSampler:
    return TrainingSampler(Draws(3, "unlabeled"), 50, 16, rank, micro, GROWN)


def test_a_batch_that_grows_goes_on_where_the_step_before_ended():
    """So its samples are those of a constant batch, in the same order, whatever the step that one begins at."""
    own, order = growing(), numbers(sampler(3, "unlabeled", 50, 1), 100)
    found = [own.indices(step) for step in range(9)]
    assert [len(part) for part in found] == own.shares(0, 9) == [4, 4, 4, 8, 8, 8, 8, 16, 16]
    np.testing.assert_array_equal(np.concatenate(found), order[: sum(own.shares(0, 9))])
    again = growing()  # remembers nothing, and is asked for a late step first
    np.testing.assert_array_equal(again.indices(8), found[8])
    np.testing.assert_array_equal(again.indices(3), found[3])


@pytest.mark.parametrize("micro", [1, 2])
def test_a_batch_that_grows_is_shared_by_ranks_as_others_are(micro: int):
    whole, ranks = growing(micro=micro), [growing(Rank(rank, 2), micro) for rank in (0, 1)]
    for step in (0, 2, 3, 6, 7, 20):
        parts = [rank.indices(step).reshape(micro, -1) for rank in ranks]
        np.testing.assert_array_equal(np.concatenate(parts, 1).ravel(), whole.indices(step))


@pytest.mark.parametrize(("step", "count"), [(0, 9), (2, 2), (1, 3), (7, 4)])
def test_several_steps_of_several_sizes_at_once_are_these_steps(step: int, count: int):
    own = growing(Rank(1, 2), 2)
    assert own.shares(step, count) == [len(own.numbers(s)) for s in range(step, step + count)]
    for method in (own.numbers, own.indices):
        singly = np.concatenate([method(s) for s in range(step, step + count)])
        np.testing.assert_array_equal(method(step, count), singly)
    assert (np.diff(own.numbers(step, count)) > 0).all()
