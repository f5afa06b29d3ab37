import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semisonic.curation import choice
from tests.support.curation import blobs, digits_features, nearest_accuracy


def test_typical_images_come_from_every_group_and_from_its_middle():
    features, group = blobs(8, 50)
    rows = choice.typical(features, 8, seed=1)
    assert sorted(group[rows]) == list(range(8))
    centers = np.array([features[group == one].mean(0) for one in range(8)])
    off = np.linalg.norm(features - centers[group], axis=1)
    assert (off[rows] < np.quantile(off, 0.35)).all()


def test_further_typical_images_come_from_groups_without_a_label():
    features, group = blobs(8, 50)
    labeled = np.isin(np.arange(len(group)), [np.flatnonzero(group == one)[0] for one in range(5)])
    assert sorted(group[choice.typical(features, 3, labeled, seed=1)]) == [5, 6, 7]


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 40), count=st.integers(1, 50), same=st.booleans(), seed=st.integers(0, 9))
def test_typical_images_are_unlabeled_and_different_also_among_equal_features(rows, count, same, seed):
    features = np.zeros((rows, 3)) if same else np.random.default_rng(seed).normal(size=(rows, 3))
    labeled = np.random.default_rng(seed).random(rows) < 0.3
    chosen = choice.typical(features, count, labeled, seed)
    assert len(chosen) == len(set(chosen)) == min(count, (~labeled).sum())
    assert not labeled[chosen].any()
    assert np.array_equal(chosen, choice.typical(features, count, labeled, seed))


def test_twenty_typical_digits_tell_more_than_twenty_random_ones():
    """The short version of what `benchmarks/first_labels.py` measures by training: the nearest labeled digit's class."""
    features, truth = digits_features()
    typical, random = [], []
    for seed in range(3):
        typical.append(nearest_accuracy(features, truth, choice.typical(features, 20, seed=seed)))
        rows = np.random.default_rng(seed).choice(len(truth), 20, replace=False)
        random.append(nearest_accuracy(features, truth, rows))
    assert np.mean(typical) >= np.mean(random) + 0.08
    assert np.mean(typical) >= 0.8


def test_a_new_class_lies_farthest_from_all_earlier_images():
    features, group = blobs(6, 60)
    earlier, new = features[group < 5][::2], np.concatenate([features[group < 5][1::2], features[group == 5]])
    is_new = np.arange(len(new)) >= len(new) - 60
    assert is_new[choice.farthest(new, earlier, 20)].all()
    distance = choice.distances(new, earlier)
    assert distance[is_new].min() > distance[~is_new].max()
    assert choice.distances(earlier, earlier).min() >= -1e-6
    with pytest.raises(ValueError, match="no earlier images"):
        choice.distances(new, earlier[:0])


def test_distances_are_means_of_the_three_nearest():
    earlier = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 1]])
    expected = 1 - (1 + 0 + np.sqrt(0.5)) / 3
    assert choice.distances(np.array([[5.0, 0]]), earlier) == pytest.approx([expected], abs=1e-6)


def test_of_each_cluster_the_least_sure_one():
    features, group = blobs(6, 60)
    margin = np.random.default_rng(0).random(len(group))
    margin[group == 0] /= 100  # without clusters, all would come from this group
    rows = choice.least_sure_per_cluster(features, margin, 6, pool=200)
    assert len(set(group[rows])) >= 5 and group[rows[0]] == 0
    assert (np.diff(margin[rows]) > 0).all()
    assert len(choice.least_sure_per_cluster(np.zeros((30, 2)), margin[:30], 10)) == 10


def test_what_grows_is_capped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choice, "FITTED", 100)
    monkeypatch.setattr(choice, "COMPARED", 20)
    monkeypatch.setattr(choice, "CLUSTERS", 4)
    monkeypatch.setattr(choice, "BATCHED_FROM", 100)
    monkeypatch.setattr(choice, "CHUNK", 64)
    features, group = blobs(4, 100)
    rows = choice.typical(features.astype(np.float16), 40, seed=0)
    assert np.bincount(group[rows]).tolist() == [10, 10, 10, 10]
    assert len(np.unique(choice.clusters(features, 50, 0))) <= 4


@pytest.mark.parametrize(
    "call", [lambda: choice.typical(np.zeros((3, 2)), 0), lambda: choice.clusters(np.zeros((0, 2)), 2, 0)]
)
def test_nothing_to_choose_is_refused(call):
    with pytest.raises(ValueError, match="at least one"):
        call()
