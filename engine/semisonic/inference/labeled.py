"""Labeled images that are no folder: a data set of torch, a DataLoader, or images with their labels."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from semisonic.inference.inputs import Inputs
from semisonic.schema import UserError

GIVE = "give numbers into `classes`, or names of classes"
NAMED = 10
"""Classes that a message names."""


def labeled_slices(
    data: Any, classes: Sequence[str], inputs: Inputs, batch: int, device: torch.device
) -> Generator[tuple[Tensor, Tensor, Tensor], None, None]:
    """(images as `Inputs` converts them, labels int64 [n], valid bool [n]) of up to `batch` images, on the device."""
    if isinstance(data, DataLoader):
        batches: Iterator[tuple[Any, Any]] = (_pair(entry, "DataLoader: a batch") for entry in data)
        names = names_of(data.dataset)
    elif isinstance(data, tuple) and len(data) == 2:
        batches, names = iter([data]), None
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list | tuple | np.ndarray):
        batches, names = _entries(data, batch), names_of(data)
    else:
        raise UserError(
            f"data: of type {type(data).__name__}; give a folder, a data set of (image, label) entries, a DataLoader, "
            "or a pair (images, labels)"
        )
    count = 0
    for images, labels in batches:
        label_N = read_labels(labels, names or classes, classes)
        first = 0
        for part in inputs.batches(images, batch):
            own_N = label_N[first : first + len(part)].to(device)
            if len(own_N) == len(part):
                yield part.to(device), own_N, torch.ones_like(own_N, dtype=torch.bool)
            first += len(part)
        if first != len(label_N):
            raise UserError(f"labels: {len(label_N)} for {first} images")
        count += first
    if not count:
        raise UserError("data: holds no images")


def _pair(entry: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise UserError(f"{name} is no pair of images and labels, but of type {type(entry).__name__}")
    return entry[0], entry[1]


def _entries(data: Any, batch: int) -> Iterator[tuple[list[Any], list[Any]]]:
    for first in range(0, len(data), batch):
        numbers = range(first, min(first + batch, len(data)))
        pairs = [_pair(data[number], f"data[{number}]") for number in numbers]
        yield [image for image, _ in pairs], [label for _, label in pairs]


def names_of(data: Any) -> list[str] | None:
    """The names of a data set's classes, as torchvision's have them; None where it has none."""
    while isinstance(data, Subset):
        data = data.dataset
    names = getattr(data, "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def unknown_classes(unknown: Sequence[str], classes: Sequence[str]) -> str:
    """Which classes the run does not have, and which it has."""
    return f"not classes of the run: {listed(unknown)}; its classes are {listed(classes)}"


def listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def read_labels(labels: Any, names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Labels as numbers into the run's `classes`: int64 [n]. `names`: the classes that the labels' numbers stand for.

    Raises `UserError` for a label that is no class of the run.
    """
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    elif isinstance(labels, list | tuple):
        labels = [label.item() if isinstance(label, Tensor) and label.numel() == 1 else label for label in labels]
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise UserError(f"labels: of different shapes; {GIVE}") from error
    if array.dtype.kind in "iu" and array.ndim == 1:
        if outside := sorted({int(label) for label in array if not 0 <= label < len(names)}):
            raise UserError(f"labels: {listed(map(str, outside))} not in 0..{len(names) - 1}; {GIVE}")
        array = np.array(names)[array]
    elif array.dtype.kind not in "UO" or array.ndim != 1:
        raise UserError(f"labels: {array.dtype} of shape {list(array.shape)}; {GIVE}, one for each image")
    number = {name: index for index, name in enumerate(classes)}
    if unknown := list(dict.fromkeys(str(label) for label in array.tolist() if label not in number)):
        raise UserError(f"labels: {unknown_classes(unknown, classes)}")
    return torch.tensor([number[label] for label in array.tolist()], dtype=torch.int64)
