"""Splits by class counts: the numbers of the papers, disjoint, nested, and strict about what there is."""

import numpy as np
import pytest

from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.imbalance import class_counts
from semisonic.data.sets.registry import data_problems, load_data_set
from semisonic.data.sets.splits import Split, load_split, make_split, save_split
from tests.support.splits import CLASSES, LABELS, errors_of, split_of

LISTS = {
    (1500, 50): [1500, 971, 628, 407, 263, 170, 110, 71, 46, 30],
    (1500, 100): [1500, 899, 539, 323, 193, 116, 69, 41, 25, 15],
    (1500, 150): [1500, 859, 492, 282, 161, 92, 53, 30, 17, 10],
}
SUMS = {
    10: {
        (1500, 50): 4196, (1500, 100): 3720, (1500, 150): 3496, (3000, 100): 7443, (500, 100): 1236,
        (4000, 100): 9922, (500, 150): 1162, (4000, 150): 9329, (450, 10): 1835, (450, 20): 1528, (150, 10): 609,
        (150, 20): 507,
    },
    100: {
        (150, 10): 5835, (150, 20): 4741, (150, 50): 3751, (150, 100): 3218, (300, 20): 9527, (50, 10): 1911,
        (50, 20): 1545, (400, 10): 15651, (400, 20): 12719,
    },
}  # fmt: skip
"""As the published splits of CIFAR-10, STL-10 and CIFAR-100 have them."""


@pytest.mark.parametrize(("head", "ratio"), LISTS)
def test_counts_of_every_class(head: int, ratio: int):
    assert class_counts(head, ratio, 10) == LISTS[head, ratio]


@pytest.mark.parametrize("classes", SUMS)
def test_counts_in_all(classes: int):
    assert {key: sum(class_counts(*key, classes)) for key in SUMS[classes]} == SUMS[classes]
    tails = [class_counts(150, ratio, 100)[-1] for ratio in (10, 20, 50, 100)]
    assert classes == 10 or tails == [15, 7, 3, 1]


def counts(indices: np.ndarray) -> list[int]:
    return np.bincount(LABELS[indices], minlength=CLASSES).tolist()


def test_labeled_unlabeled_and_held_out_images_are_disjoint():
    split = split_of(
        labels_head=16, imbalance=4, unlabeled_head=20, imbalance_unlabeled=2, held_out=10,
        unlabeled_includes_labeled=False,
    )  # fmt: skip
    assert counts(split.labeled) == class_counts(16, 4, 5) == [16, 11, 8, 5, 4]
    assert counts(split.unlabeled) == class_counts(20, 2, 5) == [20, 16, 14, 11, 10]
    assert counts(split.held_out) == [2] * 5
    everything = np.concatenate(split.arrays)
    assert len(np.unique(everything)) == len(everything)
    assert all((np.diff(indices) > 0).all() for indices in split.arrays)


def test_the_pool_holds_the_labeled_images_where_it_is_to():
    apart = split_of(labels_head=16, imbalance=4, unlabeled_head=20, unlabeled_includes_labeled=False)
    within = split_of(labels_head=16, imbalance=4, unlabeled_head=20)
    assert within.labeled.tolist() == apart.labeled.tolist()
    assert within.unlabeled.tolist() == sorted([*apart.unlabeled.tolist(), *apart.labeled.tolist()])


def test_the_pool_follows_the_labeled_images_ratio_unless_told():
    split = split_of(labels_head=16, imbalance=4, unlabeled_head=20, unlabeled_includes_labeled=False)
    assert counts(split.unlabeled) == class_counts(20, 4, 5)


def test_reversed_the_pool_s_largest_class_is_the_last():
    split = split_of(
        labels_head=16, imbalance=4, unlabeled_head=20, imbalance_order="reversed", unlabeled_includes_labeled=False
    )
    assert counts(split.unlabeled) == class_counts(20, 4, 5)[::-1]


def test_without_its_counts_the_pool_is_all_that_is_left():
    labels_N = np.where(np.arange(200) % 10 == 9, -1, LABELS)
    split = split_of(labels_N=labels_N, labels_head=16, imbalance=4, held_out=5, unlabeled_includes_labeled=False)
    assert np.array_equal(np.sort(np.concatenate(split.arrays)), np.arange(200))
    assert (labels_N[split.labeled] >= 0).all()
    assert (labels_N[split.unlabeled] < 0).any()


def test_a_larger_labeled_set_contains_the_smaller():
    small, large = (split_of(labels_head=head, imbalance=4) for head in (8, 20))
    assert np.isin(small.labeled, large.labeled).all()
    assert len(large.labeled) > len(small.labeled)


def test_the_hash_tells_every_field_apart():
    fields = {"labels_head": 16, "imbalance": 4, "unlabeled_head": 18, "imbalance_unlabeled": 4}
    others = [
        {}, {"labels_head": 15}, {"imbalance": 3}, {"unlabeled_head": 17}, {"imbalance_unlabeled": 2},
        {"imbalance_order": "reversed"}, {"split_seed": 1},
    ]  # fmt: skip
    assert len({split_of(**{**fields, **other}).hash for other in others}) == len(others)


def test_a_run_s_split_file_holds_it(tmp_path):
    split = split_of(labels_head=16, imbalance=4, unlabeled_head=20)
    save_split(split, tmp_path / "split.npz")
    assert load_split(tmp_path / "split.npz", LABELS, CLASSES).hash == split.hash


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels_head": 41}, "data.labels_head: 41 labeled images are asked of class 0, which has 40 (5 classes are short); give less"),
        ({"labels_head": 30, "imbalance": 2, "unlabeled_head": 20}, "data.unlabeled_head: 30 labeled + 20 unlabeled images are asked of class 0, which has 40 (2 classes are short); give less"),
        ({"labels_head": 30, "imbalance": 2, "unlabeled_head": 24, "imbalance_order": "reversed"}, "data.unlabeled_head: 30 labeled + 12 unlabeled images are asked of class 0, which has 40; give less"),
        ({"labels_head": 39, "held_out": 10}, "data.labels_head: 39 labeled + 2 held-out images are asked of class 0"),
        ({"labels_head": 39, "held_out": 9}, "data.held_out: 9 is not the same number for each of the 5 classes; give 5 or 10"),
        ({"labels_head": 8, "imbalance": 10}, "data.labels_head: 8 images of the largest class and data.imbalance 10 leave none of class 4; give 10 or more"),
    ],
)  # fmt: skip
def test_too_few_images_are_told(fields: dict, message: str):
    found = errors_of(**fields)
    assert len(found) == 1
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"imbalance": 50}, "data.imbalance: needs the labeled images of the largest class; give data.labels_head"),
        ({"unlabeled_head": 50}, "data.unlabeled_head: needs the labeled images of the largest class"),
        ({"imbalance_order": "reversed"}, "data.imbalance_order: needs the labeled images of the largest class"),
        ({"labels_head": 50, "labels_from": "random"}, "data.labels_from: random does not look at classes"),
        ({"labels_head": 50, "split": __file__}, "data.split: names the images itself; leave it or data.labels_head out"),
        ({"labels_head": 50, "imbalance_order": "reversed"}, "data.imbalance_order: needs the unlabeled images of the largest class"),
        ({"labels_head": 50, "imbalance_unlabeled": 2}, "data.imbalance_unlabeled: needs the unlabeled images of the largest class"),
        ({"labels_head": 500}, "data.labels_head: 500 labeled images are asked of class 0, which has"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_before_images_are_read(fields: dict, message: str):
    found = data_problems(DataConfig(**fields))
    assert len(found) == 1
    assert found[0].startswith(message)


def test_balanced_labels_beside_an_uneven_pool():
    split = split_of(labels_head=8, unlabeled_head=20, imbalance_unlabeled=4, unlabeled_includes_labeled=False)
    assert counts(split.labeled) == [8] * 5
    assert counts(split.unlabeled) == class_counts(20, 4, 5)


def test_of_a_data_set_the_test_images_stay_as_they_are():
    cfg = DataConfig(labels_head=50, imbalance=50)
    data = load_data_set(cfg)
    split = make_split(cfg, data.train.labels, len(data.classes), 0)
    assert isinstance(split, Split)
    assert np.bincount(data.train.labels[split.labeled]).tolist() == class_counts(50, 50, 10)
    assert data.test_count == load_data_set(DataConfig()).test_count


def test_a_field_of_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="finite"):
        DataConfig(labels_head=5, imbalance=float("inf"))
