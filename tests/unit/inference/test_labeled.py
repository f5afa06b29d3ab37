"""Labels are numbers or names, of a data set by the names of its classes; what is no class of the run is told."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset

from semisonic.inference.inputs import Inputs
from semisonic.inference.labeled import labeled_slices, names_of, read_labels
from semisonic.schema import UserError

CLASSES = ["cat", "dog", "owl"]
IMAGES = np.zeros((4, 16, 16, 3), np.uint8)


def slices(data: Any, batch: int = 3) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    return list(labeled_slices(data, CLASSES, Inputs(16), batch, torch.device("cpu")))


@pytest.mark.parametrize("labels", [
    [0, 2, 1, 1], ["cat", "owl", "dog", "dog"], np.array([0, 2, 1, 1], np.uint8), torch.tensor([0, 2, 1, 1]),
    [torch.tensor(0), torch.tensor(2), 1, np.int64(1)], np.array(["cat", "owl", "dog", "dog"]),
])  # fmt: skip
def test_labels_are_numbers_or_names(labels: Any):
    assert read_labels(labels, CLASSES, CLASSES).tolist() == [0, 2, 1, 1]
    found = slices((IMAGES, labels))
    assert [len(images) for images, _, _ in found] == [3, 1] and all(valid.all() for _, _, valid in found)
    assert torch.cat([label for _, label, _ in found]).tolist() == [0, 2, 1, 1]


@pytest.mark.parametrize("labels, message", [
    ([0, 3, 1, -1], r"labels: -1, 3 not in 0..2; give numbers into `classes`, or names of classes"),
    (["cat", "elk", "elk", "emu"], "labels: not classes of the run: elk, emu; its classes are cat, dog, owl"),
    ([0, 1], "labels: 2 for 4 images"),
    ([0, 1, 2, 0, 0], "labels: 5 for 4 images"),
    ([0.0, 1.0, 2.0, 0.0], r"labels: float64 of shape \[4\]; give numbers"),
    (np.eye(4, 3, dtype=int), r"labels: int64 of shape \[4, 3\]; give numbers"),
    ([True, False, True, True], "labels: bool"),
    ([[0], [1, 2], [0], [0]], "labels: of different shapes"),
    (None, "labels: object of shape"),
])  # fmt: skip
def test_wrong_labels_are_refused(labels: Any, message: str):
    with pytest.raises(UserError, match=message):
        slices((IMAGES, labels))


class Listed(Dataset):
    """Images of other classes, in another order, than the run's."""

    classes = ["owl", "elk", "cat"]

    def __init__(self, labels: list[int]):
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return IMAGES[0], self.labels[index]


def test_a_data_set_s_numbers_are_matched_by_the_names_of_its_classes():
    assert torch.cat([labels for _, labels, _ in slices(Listed([0, 2, 2, 0]))]).tolist() == [2, 0, 0, 2]
    subset = Subset(Listed([1, 2, 0]), [2, 1])
    assert names_of(subset) == ["owl", "elk", "cat"]
    assert [labels.tolist() for _, labels, _ in slices(subset)] == [[2, 0]]
    with pytest.raises(UserError, match="not classes of the run: elk; its classes are cat, dog, owl"):
        slices(Listed([0, 1]))


@pytest.mark.parametrize("data, message", [
    (IMAGES, "data: of type ndarray; give a folder, a data set"),
    ([IMAGES, [0]], "data: of type list"),
    (3, "data: of type int"),
    (Listed([]), "data: holds no images"),
    (Subset([IMAGES[0]], [0]), r"data\[0\] is no pair of images and labels, but of type ndarray"),
    (SimpleNamespace(), "data: of type SimpleNamespace"),
])  # fmt: skip
def test_what_is_no_labeled_data_is_refused(data: Any, message: str):
    with pytest.raises(UserError, match=message):
        slices(data)
