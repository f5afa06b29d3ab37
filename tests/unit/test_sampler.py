"""Order and random numbers are functions of the global sample number alone."""

import hashlib

import numpy as np
import pytest

from semisonic.data import draws, spellings
from semisonic.data.sampler import Sampler

PINNED = [[45, 38, 26, 30, 24, 13, 18, 34], [7, 23, 0, 3, 36, 15, 11, 16]]


@pytest.mark.parametrize(("now", "first"), spellings.FIRST_NAMES.items())
def test_another_spelling_changes_no_random_number(now: str, first: str):
    """Keys are those of version 0.1.0 whatever streams and draws are called since."""
    assert now != first
    digest = hashlib.blake2b(f"3/draw/{first}/lam/0".encode(), digest_size=16).digest()
    words = np.random.Philox(key=np.frombuffer(digest, np.uint64)).random_raw(4)
    for name in (now, first):
        assert draws.generator(3, f"draw/{name}/lam/0").random_raw(4).tolist() == words.tolist()
    assert spellings.hashed(f"order/{now}s/x{now}") == f"order/{now}s/x{now}"


def test_orders_are_those_of_version_0_1():
    for stream, expected in zip(("labelled", "unlabelled"), PINNED, strict=True):
        assert Sampler(seed=3, stream=stream, pool=50, batch=8).indices(0).tolist() == expected


def numbers(sampler: Sampler, steps: int) -> np.ndarray:
    return np.concatenate([sampler.indices(step) for step in range(steps)])


def test_each_epoch_is_a_permutation_of_the_pool():
    order = numbers(Sampler(seed=0, stream="unlabelled", pool=10, batch=4), steps=5)
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert list(order[:10]) != list(order[10:])


def test_small_pool_repeats_inside_a_batch():
    order = numbers(Sampler(seed=0, stream="labelled", pool=3, batch=7), steps=3)
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in range(0, 21, 3))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_order(world_size):
    whole = Sampler(seed=3, stream="unlabelled", pool=50, batch=16)
    ranks = [Sampler(3, "unlabelled", 50, 16, rank, world_size) for rank in range(world_size)]
    for step in (0, 1, 7):
        joined = np.concatenate([rank.indices(step) for rank in ranks])
        np.testing.assert_array_equal(joined, whole.indices(step))


def test_a_micro_batch_holds_the_same_samples_at_every_world_size():
    one = Sampler(3, "unlabelled", 50, 16, micro=2)
    ranks = [Sampler(3, "unlabelled", 50, 16, rank, 2, micro=2) for rank in (0, 1)]
    for step in (0, 3):
        assert sorted(one.indices(step)) == sorted(np.concatenate([rank.indices(step) for rank in ranks]))
        for part in (0, 1):
            joined = np.concatenate([rank.indices(step).reshape(2, 4)[part] for rank in ranks])
            np.testing.assert_array_equal(joined, one.indices(step).reshape(2, 8)[part])


@pytest.mark.parametrize("pool", [3, 7, 50, 1000])
@pytest.mark.parametrize("world_size, micro", [(1, 1), (2, 1), (2, 2)])
def test_several_steps_at_once_are_these_steps(pool, world_size, micro):
    for rank in range(world_size):
        sampler = Sampler(3, "unlabelled", pool, 16, rank, world_size, micro)
        for step, count in ((0, 4), (5, 3)):
            for method in (sampler.numbers, sampler.indices):
                singly = np.concatenate([method(s) for s in range(step, step + count)])
                np.testing.assert_array_equal(method(step, count), singly)
            assert (np.diff(sampler.numbers(step, count)) > 0).all()


def test_order_does_not_depend_on_the_batch_size():
    small, large = Sampler(1, "unlabelled", 20, 4), Sampler(1, "unlabelled", 20, 12)
    np.testing.assert_array_equal(numbers(small, 6), numbers(large, 2))


def test_seeds_and_streams_have_orders_of_their_own():
    orders = [tuple(numbers(Sampler(seed, stream, 30, 30), 1)) for seed in (0, 1) for stream in ("a", "b")]
    assert len(set(orders)) == 4


def test_uniforms_do_not_depend_on_how_they_are_asked_for():
    whole = draws.uniforms(5, "view/unlabelled/weak", np.arange(12), 8)
    for numbers_N in ([0, 1, 2], [3], [2, 3, 7, 8, 9, 11], [0, 11]):
        part = draws.uniforms(5, "view/unlabelled/weak", np.array(numbers_N), 8)
        np.testing.assert_array_equal(part, whole[numbers_N])
    assert draws.uniforms(5, "plain", np.arange(3), 0).shape == (3, 0)
    assert whole.min() >= 0 and whole.max() < 1


def test_uniforms_are_uniform_and_purposes_independent():
    first, second = (draws.uniforms(0, purpose, np.arange(5000), 4) for purpose in ("a", "b"))
    assert abs(first.mean() - 0.5) < 0.01 and abs(first.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


def test_numbers_are_the_same_on_every_machine():
    """A change of these breaks the reproducibility of every earlier run."""
    np.testing.assert_allclose(
        draws.uniforms(0, "test", np.array([7]), 4)[0], [0.56078919, 0.38335793, 0.61265969, 0.88470741], rtol=1e-7
    )
    assert draws.permutation(0, "test", 6).tolist() == [4, 2, 1, 0, 3, 5]
    assert Sampler(0, "unlabelled", 5, 4).indices(1).tolist() == [2, 2, 3, 1]
    assert (
        draws.sample_keys(0, "test", np.array([0, 7])).tolist()
        == draws.sample_keys(0, "test", np.arange(8))[[0, 7]].tolist()
    )
