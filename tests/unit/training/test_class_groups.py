"""Metrics over classes: their formulas, their groups, and that balanced runs have none of them."""

import math

import pytest

from semisonic.training.class_groups import balanced, by_class, geometric, groups
from semisonic.training.metrics import Evaluation


def evaluation(right: list[int], images: list[int]) -> Evaluation:
    """Of classes with so many images, of which so many are classified right and the others as the next class."""
    classes = len(right)
    confusion = [[0] * classes for _ in range(classes)]
    for c, (hits, count) in enumerate(zip(right, images, strict=True)):
        confusion[c][c] += hits
        confusion[c][(c + 1) % classes] += count - hits
    recall = [100 * hits / count if count else math.nan for hits, count in zip(right, images, strict=True)]
    return Evaluation(100 * sum(right) / sum(images), 100.0, 0.5, recall, confusion)


def test_thirds_of_the_classes():
    assert groups([1500, 971, 628, 407, 263, 170, 110, 71, 46, 30]) == {
        "many": [0, 1, 2], "medium": [3, 4, 5, 6], "few": [7, 8, 9],
    }  # fmt: skip
    assert groups([1, 2, 3]) == {"many": [2], "medium": [1], "few": [0]}
    assert [len(own) for own in groups(list(range(100))).values()] == [33, 34, 33]
    assert groups([5, 4]) == {"many": [0], "medium": [], "few": [1]}


def test_of_as_many_images_the_first_class_is_the_larger():
    assert groups([4, 4, 9, 4, 4, 4]) == {"many": [2, 0], "medium": [1, 3], "few": [4, 5]}


def test_the_geometric_mean_has_a_floor():
    assert geometric([90.0] * 9 + [0.0]) == pytest.approx(45.6, abs=0.05)
    assert geometric([50.0, 50.0, math.nan]) == pytest.approx(50)
    assert geometric([20.0, 80.0]) == pytest.approx(40)


def test_balanced_is_the_mean_recall_of_the_classes_that_have_images():
    assert balanced([100.0, 50.0, math.nan]) == 75
    assert math.isnan(balanced([math.nan]))


def test_a_majority_class_carries_top1_alone():
    figures = by_class(evaluation([90, 1, 0], [90, 5, 5]), [90, 5, 5])
    assert figures["balanced"] == pytest.approx((100 + 20 + 0) / 3)
    assert (figures["many"], figures["medium"], figures["few"]) == (100, 20, 0)
    assert figures["gm"] == pytest.approx(100 * (1 * 0.2 * (1 / 300)) ** (1 / 3))


def test_where_all_classes_have_as_many_images_top1_says_it():
    assert by_class(evaluation([9, 1, 0], [10, 10, 10]), [4, 4, 4]) == {}
    assert by_class(evaluation([9, 1, 0], [10, 10, 10]), None) == {}


def test_of_uneven_test_images_alone_there_are_no_groups():
    for labeled in (None, [4, 4]):
        assert by_class(evaluation([9, 1], [10, 5]), labeled).keys() == {"balanced", "gm"}


def test_a_group_without_an_image_is_left_out():
    figures = by_class(evaluation([9, 1, 0], [10, 10, 0]), [9, 5, 4])
    assert figures.keys() == {"balanced", "gm", "many", "medium"}
    assert figures["balanced"] == 50
