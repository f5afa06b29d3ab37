"""Every mistake of a data set's reader is named where it is made, and all of them together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semisonic.data.sets.base import DataSet, ImageFiles, Images
from semisonic.schema import UserError
from tests.support.data import data_set


def files(**changes: Any) -> ImageFiles:
    fields: dict[str, Any] = {
        "root": Path("images"), "paths": ["a", "b", "c"], "labels": np.array([0, 1, 2]),
        "shapes": np.full((3, 2), 9, np.int32), "via_pillow": np.zeros(3, bool), "sizes": np.full(3, 100),
    }  # fmt: skip
    return ImageFiles(**(fields | changes))


def images(count: int = 3, **changes: Any) -> Images:
    return Images(**({"pixels": np.zeros((count, 16, 16, 3), np.uint8), "labels": np.arange(count) % 3} | changes))


def mistakes(**changes: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        replace(data_set(), **changes)
    return caught.value.messages


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "DataSet.name: '' is not valid"),
        ("name", None, "DataSet.name: None"),
        ("classes", ["a", "b", "c"], "DataSet.classes: list is not valid"),
        ("classes", (0, 1, 2), "DataSet.classes: tuple is not valid"),
        ("classes", ("a", "b", "a"), "DataSet.classes: a more than once"),
        ("classes", ("a", "", "c\udce9"), "DataSet.classes: '', 'c\\udce9' is not valid; every class needs a name"),
        ("size", 0, "DataSet.size: 0"),
        ("size", 16.0, "DataSet.size: 16.0"),
        ("size", True, "DataSet.size: True"),
        ("mean", 0.5, "DataSet.mean: 0.5 is not valid; give three numbers, 0 to 1"),
        ("mean", (0.5, 0.5), "DataSet.mean: (0.5, 0.5)"),
        ("mean", (128, 128, 128), "DataSet.mean: (128, 128, 128)"),
        ("mean", (0.5, float("nan"), 0.5), "DataSet.mean: (0.5, nan, 0.5)"),
        ("std", (0.5, 0.0, 0.5), "DataSet.std: (0.5, 0.0, 0.5) is not valid; give three numbers, above 0"),
        ("std", (0.5, float("inf"), 0.5), "DataSet.std: (0.5, inf, 0.5)"),
        ("std", "111", "DataSet.std: '111'"),
        ("flip", None, "DataSet.flip: None"),
        ("pad", 16, "DataSet.pad: 16 is not valid; give 0 to 15 pixels"),
        ("pad", -1, "DataSet.pad: -1"),
        ("pad", None, "DataSet.pad: None"),
        ("border", 8, "DataSet.border: 8"),
        ("crop_area", 0, "DataSet.crop_area: 0 is not valid; give a share above 0, at most 1"),
        ("notes", ["one"], "DataSet.notes: list"),
        ("train", {}, "DataSet.train: dict is not valid; give Images or ImageFiles"),
        ("train", images(pixels=np.zeros((3, 16, 16, 3))), "DataSet.train.pixels: float64 [3, 16, 16, 3] is not valid"),
        ("train", images(pixels=np.zeros((3, 3, 16, 16), np.uint8)), "DataSet.train.pixels: uint8 [3, 3, 16, 16]"),
        ("train", images(pixels=np.zeros((3, 32, 32, 3), np.uint8)), "DataSet.train.pixels: uint8 [3, 32, 32, 3]"),
        ("train", images(pixels=[[0]]), "DataSet.train.pixels: list is not valid; give an array uint8 [N, 16, 16, 3]"),
        ("train", images(labels=np.arange(3, dtype=np.int32)), "DataSet.train.labels: int32 [3] is not valid"),
        ("train", images(labels=[0, 1, 2]), "DataSet.train.labels: list"),
        ("train", images(labels=np.eye(3, dtype=np.int64)), "DataSet.train.labels: int64 [3, 3]"),
        ("train", images(labels=np.arange(2)), "DataSet.train.labels: 2 labels of 3 images"),
        ("train", images(labels=np.array([0, -2, 1])), "DataSet.train.labels: -2"),
        ("train", images(labels=np.array([0, 3, 1])), "DataSet.train.labels: 3 is not valid; 3 classes have the numbers"),
        ("train", images(labels=np.full(3, -1)), "DataSet.train.labels: no image has a label"),
        ("train", images(0), "DataSet.train: there are no images"),
        ("test", images(0), "DataSet.test: there are no images"),
        ("test", images(labels=np.array([0, -1, 1])), "DataSet.test.labels: -1 is not valid; every test image needs"),
        ("train", files(root="images"), "DataSet.train.root: str"),
        ("train", files(paths=("a", "b", "c")), "DataSet.train.paths: tuple"),
        ("train", files(labels=np.arange(2)), "DataSet.train.labels: 2 labels of 3 images"),
        ("train", files(shapes=np.ones((3, 2))), "DataSet.train.shapes: float64 [3, 2] is not valid; give an array int32"),
        ("train", files(shapes=np.zeros((3, 2), np.int32)), "DataSet.train.shapes: 0"),
        ("train", files(via_pillow=np.zeros(3)), "DataSet.train.via_pillow: float64 [3]"),
        ("train", files(sizes=np.ones(2, np.int64)), "DataSet.train.sizes: int64 [2] is not valid; give an array int64 [3]"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(field: str, value: object, expected: str):
    (line,) = mistakes(**{field: value})
    assert line.startswith(expected)


def test_one_class_is_none():
    lines = mistakes(classes=("a",))
    assert lines[0] == "DataSet.classes: 1 classes; at least 2 are needed"


def test_all_mistakes_at_once():
    lines = mistakes(name="", mean=None, flip=1, train=images(labels=[0]), test=files(sizes=[1]))
    fields = ["name", "mean", "flip", "train.labels", "test.sizes"]
    assert [line.partition(":")[0] for line in lines] == [f"DataSet.{field}" for field in fields]


def test_means_of_numpy_become_floats():
    data = replace(data_set(), mean=np.full(3, 0.5), std=[np.float32(0.25)] * 3)
    assert data.mean == (0.5, 0.5, 0.5) and data.std == (0.25, 0.25, 0.25)
    assert all(type(value) is float for value in (*data.mean, *data.std))


def test_files_and_labels_that_are_unknown_are_right():
    data = replace(data_set(), train=files(labels=np.array([0, -1, -1]), sizes=None), test=images())
    assert isinstance(data, DataSet) and len(data.train) == 3
