"""What is wrong with a data set as its reader made it: types, shapes, ranges and labels, without looking at pixels.

A reader of a plug-in can get all of it wrong; what is not noticed here would end inside a convolution or a sampler.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.records.entries import LEAST_DEVIATION


def three_floats(value: Any) -> tuple[float, float, float] | None:
    """A mean or deviation per channel as Python's floats, from any sequence of three numbers; None where it is none."""
    if isinstance(value, str):
        return None
    try:
        red, green, blue = (float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return red, green, blue


def data_set_problems(data: Any) -> list[str]:
    """One line for each mistake in the fields of a `DataSet`, naming the field and what would be valid; else []."""
    problems = []
    if not isinstance(data.name, str) or not data.name:
        problems.append(f"DataSet.name: {data.name!r} is not valid; give a name")
    problems += _class_problems(data.classes) + _number_problems(data)
    if not _is_whole(data.size) or data.size < 1:
        return problems  # what the images must be like is not known
    classes = len(data.classes) if isinstance(data.classes, (tuple, list)) else None
    for part in ("train", "test") if data.test is not None else ("train",):
        problems += _part_problems(f"DataSet.{part}", getattr(data, part), data.size, classes, part == "test")
    return problems


def _class_problems(classes: Any) -> list[str]:
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        return [f"DataSet.classes: {_kind(classes)} is not valid; give a tuple of the classes' names"]
    if len(classes) < 2:
        return [f"DataSet.classes: {len(classes)} classes; at least 2 are needed"]
    problems = []
    if found := repeated(classes):
        problems.append(f"DataSet.classes: {', '.join(found)} more than once; every class needs a name of its own")
    if unnamed := unwritable(classes):
        problems.append(f"DataSet.classes: {', '.join(unnamed)} is not valid; every class needs a name that is text")
    return problems


def repeated(classes: Iterable[str]) -> list[str]:
    """The names that are there more than once."""
    return sorted(name for name, count in Counter(classes).items() if count > 1)


def unwritable(classes: Iterable[str]) -> list[str]:
    """The names that no configuration can hold, as messages show them: empty ones, and those that are not UTF-8."""
    return [repr(name) for name in classes if not name or any("\ud800" <= letter <= "\udfff" for letter in name)]


def _number_problems(data: Any) -> list[str]:
    problems = []
    for field, low, least in (("mean", 0.0, "0 to 1"), ("std", LEAST_DEVIATION, "above 0, at most 1")):
        values = three_floats(getattr(data, field))
        if values is None or not all(low <= value <= 1 for value in values):
            given = getattr(data, field)
            problems.append(f"DataSet.{field}: {given!r} is not valid; give three numbers, {least}, one a channel")
    if not isinstance(data.flip, (bool, np.bool_)):
        problems.append(f"DataSet.flip: {data.flip!r} is not valid; give True or False")
    if not _is_whole(data.size) or data.size < 1:
        problems.append(f"DataSet.size: {data.size!r} is not valid; give the images' side in pixels")
    elif not _is_whole(data.pad) or not 0 <= data.pad < data.size:
        problems.append(f"DataSet.pad: {data.pad!r} is not valid; give 0 to {data.size - 1} pixels, less than the size")
    elif not _is_whole(data.border) or not 0 <= 2 * data.border < data.size:
        problems.append(f"DataSet.border: {data.border!r} is not valid; give 0 or more pixels, less than half the size")
    if not isinstance(data.crop_area, int | float) or not 0 < data.crop_area <= 1:
        problems.append(f"DataSet.crop_area: {data.crop_area!r} is not valid; give a share above 0, at most 1")
    if data.crop is not None and (not isinstance(data.crop, int | float) or not 0 < data.crop <= 1):
        problems.append(f"DataSet.crop: {data.crop!r} is not valid; give a share above 0, at most 1, or None")
    if data.interpolation not in ("bilinear", "bicubic"):
        problems.append(f"DataSet.interpolation: {data.interpolation!r} is not valid; give bilinear or bicubic")
    if not isinstance(data.notes, tuple) or not all(isinstance(note, str) for note in data.notes):
        problems.append(f"DataSet.notes: {_kind(data.notes)} is not valid; give a tuple of lines")
    return problems


def _part_problems(field: str, part: Any, size: int, classes: int | None, test: bool) -> list[str]:
    """Mistakes in the training or test images, of which there are `classes` classes where these are known."""
    if hasattr(part, "pixels"):
        problems = _pixel_problems(field, part.pixels, size)
        count = len(part.pixels) if isinstance(part.pixels, np.ndarray) and part.pixels.ndim else None
    elif hasattr(part, "paths"):
        problems = _file_problems(field, part)
        count = len(part.paths) if isinstance(part.paths, list) else None
    else:
        return [f"{field}: {_kind(part)} is not valid; give Images or ImageFiles"]
    labels = part.labels
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
        return [*problems, f"{field}.labels: {_kind(labels)} is not valid; give an array int64 [N]"]
    if count == 0 or not len(labels):
        return [*problems, f"{field}: there are no images"]
    if count is not None and len(labels) != count:
        problems.append(f"{field}.labels: {len(labels)} labels of {count} images")
    problems += _weight_problems(field, getattr(part, "weights", None), len(labels))
    least, most = int(labels.min()), int(labels.max())
    if test and least < 0:
        problems.append(f"{field}.labels: {least} is not valid; every test image needs its class")
    elif least < -1:
        problems.append(f"{field}.labels: {least} is not valid; give the classes' numbers, -1 where unknown")
    if classes is not None and most >= classes:
        problems.append(f"{field}.labels: {most} is not valid; {classes} classes have the numbers 0 to {classes - 1}")
    if not test and most < 0:
        problems.append(f"{field}.labels: no image has a label")
    return problems


def _weight_problems(field: str, weights: Any, count: int) -> list[str]:
    if weights is None:
        return []
    if not isinstance(weights, np.ndarray) or weights.dtype != np.float64 or weights.shape != (count,):
        return [f"{field}.weights: {_kind(weights)} is not valid; give an array float64 [{count}]"]
    if not np.isfinite(weights).all() or weights.min() < 0:
        return [f"{field}.weights: {weights.min()} is not valid; give finite numbers of 0 or more"]
    return []


def _pixel_problems(field: str, pixels: Any, size: int) -> list[str]:
    wanted = f"give an array uint8 [N, {size}, {size}, 3], as DataSet.size says (a border included)"
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (size, size, 3):
        return [f"{field}.pixels: {_kind(pixels)} is not valid; {wanted}"]
    return []


def _file_problems(field: str, files: Any) -> list[str]:
    problems = []
    if not isinstance(files.root, Path):
        problems.append(f"{field}.root: {_kind(files.root)} is not valid; give a Path")
    if not isinstance(files.paths, list) or not all(isinstance(path, str) for path in files.paths):
        return [*problems, f"{field}.paths: {_kind(files.paths)} is not valid; give a list of strings"]
    count = len(files.paths)
    arrays: dict[str, tuple[type, tuple[int, ...]]] = {
        "shapes": (np.int32, (count, 2)),
        "via_pillow": (np.bool_, (count,)),
    }
    if files.sizes is not None:
        arrays["sizes"] = (np.int64, (count,))
    if files.digests is not None:
        arrays["digests"] = (np.uint8, (count, 16))
    for name, (kind, shape) in arrays.items():
        value = getattr(files, name)
        if not isinstance(value, np.ndarray) or value.dtype != kind or value.shape != shape:
            wanted = f"give an array {np.dtype(kind).name} {list(shape)}"
            problems.append(f"{field}.{name}: {_kind(value)} is not valid; {wanted}")
        elif name == "shapes" and count and value.min() < 1:
            problems.append(f"{field}.shapes: {value.min()} is not valid; give heights and widths in pixels")
    return problems


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """What a value is, in few words."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
