"""The baselines on features that are given: what they are evaluated on, and features that nothing can be learned from."""

from functools import partial

import numpy as np
import pytest
import torch

from semisonic.data.sets.base import DataSet, Images
from semisonic.frozen.features import Rows
from semisonic.frozen.images import Chosen
from semisonic.frozen.learner import Learner, attempt

CPU = torch.device("cpu")


def features(labels_N: np.ndarray, seed: int) -> np.ndarray:
    """float16 [N, 6] of length 1, around a center for each class."""
    centers = np.random.default_rng(9).normal(size=(3, 6))
    found = centers[labels_N] + 0.3 * np.random.default_rng(seed).normal(size=(len(labels_N), 6))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def data_of(train_N: np.ndarray, test_N: np.ndarray) -> DataSet:
    def blank(labels: np.ndarray) -> Images:
        return Images(np.zeros((len(labels), 4, 4, 3), np.uint8), labels)

    gray = (0.5, 0.5, 0.5)
    return DataSet("blank", ("a", "b", "c"), 4, gray, gray, False, 0, blank(train_N), blank(test_N))


def learner_of(values: np.ndarray, known_N: np.ndarray, test: np.ndarray, test_N: np.ndarray) -> Learner:
    """The first 12 images are labeled, the next 12 held out, and the others are the pool."""
    numbers = np.arange(len(values))
    chosen = Chosen(numbers[:12], numbers[24:], numbers[12:24])
    train, tests = Rows(numbers, values), Rows(np.arange(len(test)), test)
    return Learner(data_of(known_N, test_N), chosen, train, tests, 0, CPU)


def test_held_out_and_test_images_are_evaluated():
    train_N, test_N = np.tile([0, 1, 2], 30), np.tile([0, 1, 2], 10)
    wrong = test_N.copy()
    wrong[6:12] = (wrong[6:12] + 1) % 3  # 6 of 30 are said to be of another class
    tried = features(test_N, 2)
    for name in ("neighbors", "logistic", "self_training"):
        found = [
            attempt(partial(learner_of, features(train_N, 1), train_N, tried, labels), name)
            for labels in (test_N, wrong)
        ]
        assert [entry["test_top1"] for entry in found if entry] == [100, 80]
        assert found[0] is not None and found[0]["held_out_top1"] == 100


def test_labels_of_the_pool_are_not_learned_from():
    train_N, test_N = np.tile([0, 1, 2], 30), np.tile([0, 1, 2], 10)
    lies = train_N.copy()
    lies[24:] = 0
    values, tried = features(train_N, 1), features(test_N, 2)
    found = learner_of(values, lies, tried, test_N).self_training()
    assert found is not None and found["test_top1"] == 100
    assert found["pseudo_label_precision"][-1] < 50  # against the lies


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.5, "all labeled images the same")]
)
def test_features_that_say_nothing_are_an_error(value: float, message: str):
    train_N, test_N = np.tile([0, 1, 2], 30), np.tile([0, 1, 2], 10)
    values = features(train_N, 1)
    values[:12] = value
    for name in ("neighbors", "logistic", "self_training"):
        found = attempt(lambda: learner_of(values, train_N, features(test_N, 2), test_N), name)
        assert found is not None and message in found["error"] and "test_top1" not in found


def test_without_a_pool_there_is_no_self_training():
    train_N, test_N = np.tile([0, 1, 2], 8), np.tile([0, 1, 2], 10)
    learner = learner_of(features(train_N, 1), train_N, features(test_N, 2), test_N)
    assert attempt(lambda: learner, "self_training") is None
