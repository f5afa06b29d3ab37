"""Images in the forms that Python code has them in: arrays, tensors, sequences, or a map-style data set.

Shape suffixes: N images, H height, W width, C channels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from semisonic.data.sets.base import Images
from semisonic.data.sets.given import GivenImages
from semisonic.schema import UserError

PIL_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "La", "RGBa")
"""Modes of Pillow of 8 bits a channel, which convert to RGB as they look."""
BYTES = ("uint8", "torch.uint8")
"""Types of arrays and tensors that images are read in."""


def read_given(
    train: Any, test: Any = None, classes: Sequence[str] | None = None, size: int | None = None
) -> GivenImages:
    """What Python code gave, checked. Arrays that are as they will be used are not copied.

    train, test: (images, labels), or a map-style data set of such pairs. Images: uint8 [N, H, W, 3] or [N, H, W],
    tensors also [N, 3, H, W], or a sequence of Pillow images, arrays or tensors; labels: integers [N], -1 or None
    where not known. classes: their names; by default the data set's `classes`, or the numbers. size: side in pixels
    that images are cropped in the middle and resized to; without it all must be squares of one size.
    Raises UserError with every mistake found.
    """
    problems: list[str] = []
    parts: dict[str, Images] = {}
    for name, part in {"data": train, "test": test}.items():
        if part is not None:
            try:
                parts[name] = _read_part(name, part, size)
            except UserError as error:
                problems += error.messages
    if problems:
        raise UserError(problems)
    names = _class_names(parts["data"].labels, classes, getattr(train, "classes", None))
    problems = _label_problems(parts, names)
    if len({part.pixels.shape[1] for part in parts.values()}) > 1:
        sizes = " and ".join(str(part.pixels.shape[1]) for part in parts.values())
        problems.append(f"test: training and test images have {sizes} pixels a side; give data.size")
    if problems:
        raise UserError(problems)
    return GivenImages(parts["data"], parts.get("test"), names)


def _read_part(name: str, part: Any, size: int | None) -> Images:
    if isinstance(part, tuple) and len(part) == 2:
        images, labels = part
        if isinstance(images, np.ndarray | torch.Tensor):
            pixels_NHW3 = _whole(name, images, size)
        elif isinstance(images, Iterable):
            pixels_NHW3 = _stacked(name, enumerate(images), size)
        else:
            raise UserError(f"{name}: images are {type(images).__name__}; give an array, a tensor or a sequence")
        labels_N = _labels(name, labels)
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        found: list[Any] = []
        pixels_NHW3 = _stacked(name, _pairs(name, part, found), size)
        labels_N = _labels(name, found)
    else:
        raise UserError(
            f"{name}: expected a data set's name, a folder, (images, labels) or a map-style data set of such pairs, "
            f"found {type(part).__name__}"
        )
    if len(pixels_NHW3) != len(labels_N):
        raise UserError(f"{name}: {len(pixels_NHW3)} images, but {len(labels_N)} labels")
    if not len(labels_N):
        raise UserError(f"{name}: there are no images")
    return Images(pixels_NHW3, labels_N)


def _pairs(name: str, part: Any, labels: list[Any]) -> Iterator[tuple[int, Any]]:
    """(index, image) of every item; its label is appended to `labels`."""
    for index in range(len(part)):
        item = part[index]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise UserError(f"{name}: item {index} is no (image, label) but {type(item).__name__}")
        labels.append(item[1])
        yield index, item[0]


def _whole(name: str, images: Any, size: int | None) -> np.ndarray:
    """An array or tensor of all images as uint8 [N, S, S, 3]."""
    if not isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[1] in (1, 3):
        images = images.movedim(1, -1)
    if str(images.dtype) not in BYTES:
        raise UserError(_not_bytes(f"{name}: images are", images))
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise UserError(f"{name}: images have shape {list(images.shape)}; give [N, H, W, 3], or [N, H, W] for gray")
    array = _array(images)
    array = array[..., None] if array.ndim == 3 else array
    _check_square(name, array.shape[1:3], size)
    if size is not None and array.shape[1:3] != (size, size):
        return np.stack([_resized(Image.fromarray(_rgb(image)), size) for image in array])
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:3], 3)))


def _stacked(name: str, images: Iterable[tuple[int, Any]], size: int | None) -> np.ndarray:
    """Images one by one as uint8 [N, S, S, 3]."""
    found: list[np.ndarray] = []
    for index, image in images:
        pixels_HW3 = _one(f"{name}: image {index}", image)
        _check_square(f"{name}: image {index}", pixels_HW3.shape[:2], size)
        if size is not None and pixels_HW3.shape[:2] != (size, size):
            pixels_HW3 = _resized(Image.fromarray(pixels_HW3), size)
        if found and pixels_HW3.shape != found[0].shape:
            raise UserError(
                f"{name}: image {index} is {pixels_HW3.shape[1]} pixels wide, image 0 {found[0].shape[1]}; "
                'give data.size, which all are resized to: data={"images": ..., "size": 32}'
            )
        found.append(pixels_HW3)
    return np.stack(found) if found else np.empty((0, 1, 1, 3), np.uint8)


def _one(what: str, image: Any) -> np.ndarray:
    """One image as uint8 [H, W, 3]."""
    if isinstance(image, Image.Image):
        if image.mode not in PIL_MODES:
            raise UserError(f"{what} has Pillow's mode {image.mode}, which is not 8 bits a channel; convert it to RGB")
        return np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray | torch.Tensor):
        raise UserError(f"{what} is {type(image).__name__}; give a Pillow image, or uint8 of [H, W, 3] or [H, W]")
    if str(image.dtype) not in BYTES:
        raise UserError(_not_bytes(f"{what} is", image))
    if not isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] in (1, 3):
        image = image.movedim(0, -1)
    array = _array(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3)):
        raise UserError(f"{what} has shape {list(array.shape)}; give [H, W, 3] or [H, W]")
    return _rgb(array[..., None] if array.ndim == 2 else array)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _rgb(array_HWC: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(array_HWC, (*array_HWC.shape[:2], 3)))


def _not_bytes(what: str, images: Any) -> str:
    dtype = str(images.dtype).removeprefix("torch.")
    advice = "; leave ToTensor out of the transform, or use PILToTensor" if isinstance(images, torch.Tensor) else ""
    return f"{what} {dtype}; give uint8, 0 to 255 ((255 * images).round() of floats from 0 to 1){advice}"


def _check_square(what: str, shape: Sequence[int], size: int | None) -> None:
    height, width = shape
    if size is None and height != width:
        raise UserError(
            f"{what}: {height} x {width} pixels is not square; give data.size, which the middle is resized to: "
            'data={"images": ..., "size": 32}'
        )
    if not height or not width:
        raise UserError(f"{what}: has no pixels")


def _resized(image: Image.Image, size: int) -> np.ndarray:
    """The square in the middle, resized: uint8 [size, size, 3]."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    # Not resize(box=...): its filter reaches beyond the box.
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR))


def _labels(name: str, labels: Any) -> np.ndarray:
    """int64 [N] of whatever integers they are; None becomes -1."""
    if isinstance(labels, list | tuple):
        labels = [-1 if label is None else label for label in labels]
    array = _array(labels)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{name}: labels are {array.dtype} {list(array.shape)}; give integers [N] from 0, and -1 for unlabeled "
            "images (np.unique(labels, return_inverse=True) numbers any others)"
        )
    if array.min() < -1:
        raise UserError(f"{name}: label {array.min()} of image {array.argmin()}; give integers from 0, or -1")
    largest, image = int(array.max()), int(array.argmax())
    if largest == np.iinfo(array.dtype).max and np.issubdtype(array.dtype, np.unsignedinteger):
        raise UserError(f"{name}: label {largest} of image {image}; {array.dtype} cannot hold -1, give int64")
    if name == "data" and largest >= len(array):
        raise UserError(
            f"{name}: label {largest} of image {image}, but there are {len(array)} images; number the classes from 0 "
            "without gaps"
        )
    return array.astype(np.int64)


def _class_names(labels_N: np.ndarray, given: Sequence[str] | None, own: Any) -> tuple[str, ...]:
    if given is not None:
        if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
            raise UserError(f"classes: {given!r}; give a list of names, one for each class")
        return tuple(map(str, given))
    count = int(labels_N.max()) + 1
    fits = isinstance(own, list | tuple) and len(own) >= count and all(isinstance(name, str) for name in own)
    return tuple(own) if fits else tuple(map(str, range(count)))


def _label_problems(parts: Mapping[str, Images], names: tuple[str, ...]) -> list[str]:
    labels_N = parts["data"].labels
    counts = np.bincount(labels_N[labels_N >= 0], minlength=len(names))
    if len(counts) > len(names):
        return [f"classes: {len(names)} names, but labels up to {len(counts) - 1}"]
    if len(set(names)) < len(names):
        return [f"classes: the name {max(names, key=names.count)!r} is there more than once"]
    if len(names) < 2:
        return [f"data: labels name {len(names)} classes; at least 2 are needed, each with labeled images"]
    if not counts.all():
        return [f"data: class {names[counts.argmin()]} has no labeled image; number the classes from 0 without gaps"]
    if "test" not in parts:
        return []
    test_N = parts["test"].labels
    if test_N.min() < 0:
        return [f"test: image {test_N.argmin()} has no label"]
    if test_N.max() >= len(names):
        return [f"test: label {test_N.max()} of image {test_N.argmax()}, but there are {len(names)} classes"]
    return []
