"""Given images as a data set: what is held back for the test, their mean, and by what they are known again."""

import dataclasses

import numpy as np
import pytest

from semisonic.data.sets.base import IMAGENET_MEAN, DataConfig, Images
from semisonic.data.sets.from_python import read_given
from semisonic.data.sets.given import given_data_set, mean_and_deviation
from semisonic.data.sets.registry import data_problems, load_data_set
from semisonic.schema import UserError
from tests.support.python_data import digits

CFG = DataConfig(name="given", fingerprint="any", labels=None, size=8)
GIVEN = read_given(digits())


def test_a_share_of_every_class_is_held_back_for_the_test():
    data = given_data_set(GIVEN, CFG)
    labeled = np.bincount(GIVEN.train.labels[:100])
    assert (np.bincount(data.test.labels) == [round(0.2 * count) for count in labeled]).all()
    assert len(data.train) + len(data.test) == 160 and (data.train.labels == -1).sum() == 60
    assert (given_data_set(GIVEN, CFG.model_copy(update={"split_seed": 7})).test.pixels == data.test.pixels).all()
    assert data.notes[0].startswith("no test images given: 20 of the labeled images, 20% of every class")
    few = Images(GIVEN.train.pixels[:10], GIVEN.train.labels[:10])
    with pytest.raises(UserError, match="test: there are no test images, and class 0 has too few labeled ones"):
        given_data_set(dataclasses.replace(GIVEN, train=few), CFG)


def test_with_test_images_all_others_are_for_training():
    data = given_data_set(read_given(digits(), digits(50, 0)), CFG)
    assert len(data.train) == 160 and len(data.test) == 50
    assert data.notes[0].startswith(
        "50 test images are also among the training images; they stay there: test image 0 ="
    )
    assert (data.flip, data.pad, data.size, data.name) == (True, 1, 8, "given")
    other = given_data_set(GIVEN, CFG.model_copy(update={"flip": False, "pad": 3, "normalize": "imagenet"}))
    assert (other.flip, other.pad, other.mean) == (False, 3, IMAGENET_MEAN)


def test_without_a_test_all_images_are_for_training():
    for given in (GIVEN, read_given(digits(), digits(50, 0))):
        data = given_data_set(given, CFG.model_copy(update={"test": "none"}))
        assert data.test is None and data.test_count == 0 and len(data.train) == 160 and data.notes == ()
        assert not {"test", "test_labels"} & data.fingerprint.keys()


def test_mean_and_deviation_are_the_training_images():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, 5, 3), np.uint8)
    mean, std = mean_and_deviation(pixels)
    assert np.allclose(mean, (pixels / 255).mean((0, 1, 2))) and np.allclose(std, (pixels / 255).std((0, 1, 2)))
    same = read_given((np.full((20, 8, 8), 7, np.uint8), [0, 1] * 10))
    with pytest.raises(UserError, match="a channel that is the same everywhere"):
        given_data_set(same, CFG)


def test_fingerprints_see_every_pixel_label_and_name():
    images, labels = digits()
    found = {read_given((images, labels)).fingerprint}
    assert found == {GIVEN.fingerprint}
    changed = images.copy()
    changed[77, 3, 3] ^= 1
    relabeled = labels.copy()
    relabeled[5] = (relabeled[5] + 1) % 10
    found |= {
        read_given((changed, labels)).fingerprint, read_given((images, relabeled)).fingerprint,
        read_given((images, labels), classes=list("abcdefghij")).fingerprint,
        read_given((images, labels), (images[:50], labels[:50])).fingerprint,
    }  # fmt: skip
    assert len(found) == 5


def test_no_configuration_loads_them():
    assert data_problems(CFG) == []
    (problem,) = data_problems(DataConfig(name="given", labels=None, size=8))
    assert problem.startswith("data.name: given stands for images in Python")
    with pytest.raises(UserError, match="data: the images were given in Python"):
        load_data_set(CFG)
