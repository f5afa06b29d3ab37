"""Random numbers: uniform however they are asked for, by keys that stay as the first version wrote them.

Left out of every change of spelling, as is `data/loading/draws.py`: the literal words are what the numbers come from.
"""

import numpy as np
import pytest

from semisonic.data.loading import draws
from semisonic.data.loading.draws import first_spelling, purpose


@pytest.mark.parametrize(
    "given, expected",
    [
        (("order", "labeled", 3), "order/labelled/3"),
        (("view", "unlabeled", "weak"), "view/unlabelled/weak"),
        (("noise", "unlabeled", "noisy"), "noise/unlabelled/noisy"),
        (("draw", "labeled", "labeled_lam"), "draw/labelled/labelled_lam"),
        (("draw", "unlabeled", "center"), "draw/unlabelled/centre"),
        (("step", 1), "step/1"),
        (("key",), "key"),
    ],
)
def test_a_purpose_is_spelled_as_in_the_first_version(given: tuple, expected: str):
    assert purpose(*given) == expected
    assert purpose(*map(first_spelling, map(str, given))) == expected


def test_the_numbers_of_every_kind_are_those_of_the_first_version():
    """In numbers, so that no change of words in the code and in this file can move both."""
    assert draws.permutation(7, purpose("order", "labeled", 0), 8).tolist() == [3, 0, 5, 6, 4, 1, 2, 7]
    assert draws.permutation(7, purpose("order", "unlabeled", 1), 8).tolist() == [1, 3, 4, 6, 7, 5, 0, 2]
    firsts = {
        purpose("view", "labeled", "weak"): 13725482839392123933,
        purpose("view", "unlabeled", "strong"): 18082266071467078737,
        purpose("draw", "labeled", "labeled_lam"): 5750555513348276778,
        purpose("draw", "unlabeled", "center"): 930934462838396332,
    }
    for kind, word in firsts.items():
        assert int(draws.raw(7, kind, np.array([5]), 4)[0, 0]) == word, kind
    keys = {
        purpose("noise", "unlabeled", "noisy"): 6311400849909663754,
        purpose("key"): 731429819156020519,
        purpose("step", 1): 9165349327742000926,
    }
    for kind, key in keys.items():
        assert int(draws.sample_keys(7, kind, np.array([5]))[0]) == key, kind


def test_uniforms_do_not_depend_on_how_they_are_asked_for():
    whole = draws.uniforms(5, "view/unlabeled/weak", np.arange(12), 8)
    for numbers_N in ([0, 1, 2], [3], [2, 3, 7, 8, 9, 11], [0, 11]):
        part = draws.uniforms(5, "view/unlabeled/weak", np.array(numbers_N), 8)
        np.testing.assert_array_equal(part, whole[numbers_N])
    assert draws.uniforms(5, "plain", np.arange(3), 0).shape == (3, 0)
    assert whole.min() >= 0 and whole.max() < 1


def test_uniforms_are_uniform_and_purposes_independent():
    first, second = (draws.uniforms(0, purpose, np.arange(5000), 4) for purpose in ("a", "b"))
    assert abs(first.mean() - 0.5) < 0.01 and abs(first.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
