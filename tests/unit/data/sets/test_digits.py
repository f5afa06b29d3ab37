"""scikit-learn's digits: their counts and constants, and test images that never change."""

import hashlib

import numpy as np
import pytest

from semisonic.data.sets import digits
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from tests.support.data_sets import assert_constants, assert_sound

PINNED_TEST_LABELS = "141a7578b66b071290241c893de891bdd3c2a233c6b6c24d09d580f021502e31"


def test_digits():
    data = load_data_set(DataConfig())
    assert_sound(data)
    assert_constants(data)
    assert (data.size, data.flip, data.pad, len(data.train), len(data.test)) == (16, False, 2, 1397, 400)
    assert np.bincount(data.test.labels).tolist() == [40] * 10
    assert np.bincount(data.train.labels).tolist() == list(digits.COUNTS)
    assert (data.train.pixels[..., 0] == data.train.pixels[..., 2]).all()
    assert data.train.pixels.max() > 250  # the scale is 0..255, not the original 0..16


def test_they_are_those_that_scikit_learn_loads(monkeypatch: pytest.MonkeyPatch):
    images, labels = digits._stored()
    monkeypatch.setattr(digits, "FILE", ("elsewhere",))  # as in a version that has moved it
    loaded = digits._stored()
    assert np.array_equal(images, loaded[0]) and np.array_equal(labels, loaded[1]) and len(labels) == 1797


def test_digits_keep_the_same_test_images_whatever_the_seed():
    once = load_data_set(DataConfig())
    again = load_data_set(DataConfig(split_seed=5, labels=100))
    assert np.array_equal(once.test.pixels, again.test.pixels)
    digest = hashlib.sha256(once.test.labels.tobytes()).hexdigest()
    assert digest == PINNED_TEST_LABELS


def test_no_test_image_of_digits_is_in_its_training_pool():
    data = load_data_set(DataConfig())
    train = {image.tobytes() for image in data.train.pixels}
    assert not any(image.tobytes() in train for image in data.test.pixels)
