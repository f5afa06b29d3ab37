import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from semisonic.curation import ranking

scores = st.lists(st.integers(0, 6), min_size=2, max_size=40).map(np.array)


@given(score=scores, seed=st.integers(0, 99))
def test_average_precision_is_scikit_learn_s_also_where_scores_are_equal(score, seed):
    wrong = np.random.default_rng(seed).random(len(score)) < 0.4
    wrong[0] = True
    assert ranking.average_precision(score, wrong) == pytest.approx(average_precision_score(wrong, score))


@given(score=scores)
def test_ranks_reach_from_0_to_1_and_turn_with_the_score(score):
    rank = ranking.rank(score)
    assert rank.min() >= 0 and rank.max() <= 1
    assert np.allclose(rank, 1 - ranking.rank(score, higher_is_worse=False))
    assert np.allclose(ranking.mean_rank(score, score), rank)


def test_scores_of_any_scale_join_by_their_ranks():
    first, second = np.array([0.9, 0.5, 0.1, 0.2]), np.array([-100.0, -3_000, -2_000, -9_000])
    assert ranking.mean_rank(first, second, higher_is_worse=False).argmin() == 0
    assert np.array_equal(ranking.mean_rank(first, second), ranking.mean_rank(first * 7, second / 9))


def test_precision_and_recall_at_the_top():
    score, wrong = np.arange(20), np.zeros(20, bool)
    wrong[[19, 18, 3, 1]] = True
    assert ranking.precision_at_errors(score, wrong) == 0.5
    assert ranking.recall_at(score, wrong, 0.1) == 0.5
    assert np.isnan([f(score, np.zeros(20, bool)) for f in (ranking.precision_at_errors, ranking.recall_at)]).all()
    assert np.isnan(ranking.average_precision(score, np.zeros(20, bool)))


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 2 are not numbers"):
        ranking.mean_rank(np.array([1, np.nan]))
    with pytest.raises(ValueError, match="at least one"):
        ranking.mean_rank()
