"""The DALI operators of the views: inside a pipeline definition with `enable_conditionals`, images to images.

Of Pillow's operations one warp is for all geometric ones, and one operator for each other. Pillow truncates where
DALI's casts round, hence the floors; casts to uint8 saturate, so nothing is clamped. Views import this module where
they build a graph, so that naming and checking a view does not load DALI.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali import math as dali_math
from nvidia.dali.auto_aug.core import select
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import Constant, DALIDataType, DALIImageType, DALIInterpType
from PIL import Image, ImageOps

Operator = Callable[[DataNode, DataNode], DataNode]
"""(image, argument) -> image."""

# Where the pixels come from.


def place(source: DataNode, device: str) -> DataNode:
    """On the device ("cpu" or "gpu") where the operators run."""
    return source.gpu() if device == "gpu" else source


FILTERS = {"bilinear": DALIInterpType.INTERP_LINEAR, "bicubic": DALIInterpType.INTERP_CUBIC}


def decode(
    source: DataNode, start: DataNode, shape: DataNode, size: int, device: str, interpolation: str = "bilinear"
) -> DataNode:
    """A window (start and shape: y, x) of encoded images, resized to a square."""
    return resize(_window(source, start, shape, device), size, interpolation)


def _window(source: DataNode, start: DataNode, shape: DataNode, device: str) -> DataNode:
    return fn.decoders.image_slice(
        source,
        start=start,
        shape=shape,
        axis_names="HW",
        device="mixed" if device == "gpu" else "cpu",
        output_type=DALIImageType.RGB,
    )


def decode_center(
    source: DataNode, params: Mapping[str, DataNode], size: int, device: str, interpolation: str
) -> DataNode:
    """The center of encoded images by the `parameters` of central.py: resampled along the rows, then the columns."""
    image = _window(source, params["start"], params["shape"], device)
    image = fn.slice(
        image, start=params["before"], shape=params["whole"], axis_names="HW",
        out_of_bounds_policy="pad", fill_values=0,
    )  # fmt: skip
    first, last = params["first"], params["last"]
    height = fn.cast(params["whole"][0], dtype=DALIDataType.FLOAT)
    zero, side = Constant(np.float32(0)), Constant(np.float32(size))
    image = _part(image, (height, side), (zero, first[1]), (height, last[1]), interpolation)
    gain = place(fn.reshape(params["gain_x"], shape=[1, size, 1]), device)
    image = fn.reshape(_bytes(image * gain), layout="HWC")
    image = _part(image, (side, side), (first[0], zero), (last[0], side), interpolation)
    return _bytes(image * place(fn.reshape(params["gain_y"], shape=[size, 1, 1]), device))


def _part(image: DataNode, size: Any, first: Any, last: Any, interpolation: str) -> DataNode:
    """A part of an image, as floats of that size; pairs are y, x."""
    resized = fn.resize(
        image, size=fn.stack(*size), roi_start=fn.stack(*first), roi_end=fn.stack(*last),
        interp_type=FILTERS[interpolation], antialias=True, dtype=DALIDataType.FLOAT,
    )  # fmt: skip
    return resized  # type: ignore[return-value]


def crop(image: DataNode, start: DataNode | Sequence[int], shape: DataNode | Sequence[int]) -> DataNode:
    """A window of an image, start and shape: y, x."""
    return fn.slice(image, start=start, shape=shape, axis_names="HW")


def resize(image: DataNode, size: int, interpolation: str = "bilinear") -> DataNode:
    """To a square, smoothed where it shrinks."""
    resized = fn.resize(image, size=[size, size], interp_type=FILTERS[interpolation], antialias=True)
    return resized  # type: ignore[return-value]


def flip(image: DataNode, mirror: DataNode) -> DataNode:
    """Left to right where `mirror` is 1."""
    return fn.flip(image, horizontal=mirror)


# Operations.


_GRAY = [weight / 65536 for weight in (19595, 38470, 7471)]
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def warp(image: DataNode, matrix: DataNode, size: int) -> DataNode:
    """The `size` x `size` pixels that a matrix of output -> input coordinates names, to the nearest; black outside."""
    return fn.warp_affine(
        image,
        matrix=matrix,
        size=[size, size],
        interp_type=DALIInterpType.INTERP_NN,
        fill_value=0,
        inverse_map=True,
    )


def erase(image: DataNode, anchor: DataNode, shape: DataNode, fill: tuple[int, int, int]) -> DataNode:
    """Paints a rectangle, first pixel and shape: y, x."""
    return fn.erase(image, anchor=anchor, shape=shape, axis_names="HW", fill_value=list(map(float, fill)))


def erase_hole(image: DataNode, matrix: DataNode, fill: tuple[int, int, int]) -> DataNode:
    """Paints the hole of a `hole_matrix`."""
    return erase(image, matrix[0, 0:2], matrix[1, 1:3], fill)


def _bytes(pixels: DataNode) -> DataNode:
    return fn.cast(pixels, dtype=DALIDataType.UINT8)


def _blend(degenerate: DataNode, image: DataNode, factor: DataNode) -> DataNode:
    """`image` must not be uint8 if `degenerate` is: DALI's uint8 differences wrap."""
    return _bytes(dali_math.floor((image - degenerate) * factor + degenerate))


def _brightness(image: DataNode, factor: DataNode) -> DataNode:
    return _bytes(dali_math.floor(image * factor))


def _contrast(image: DataNode, factor: DataNode) -> DataNode:
    gray = fn.coord_transform(image, M=_GRAY, dtype=DALIDataType.UINT8)
    mean = dali_math.floor(fn.reductions.mean(gray) + 0.5)
    return _blend(mean, image, factor)


def _color(image: DataNode, factor: DataNode) -> DataNode:
    gray = fn.coord_transform(image, M=_GRAY, dtype=DALIDataType.UINT8)
    gray = fn.color_space_conversion(gray, image_type=DALIImageType.GRAY, output_type=DALIImageType.RGB)
    return _blend(gray, fn.cast(image, dtype=DALIDataType.INT16), factor)


class _Sharpness:
    """Blends with a smoothed image; Pillow leaves a border of one pixel as it is."""

    def __init__(self, size: int, device: str):
        self.device = device
        self.border = np.full((size, size, 3), 255, np.uint8)
        self.border[1:-1, 1:-1] = 0

    def __call__(self, image: DataNode, factor: DataNode) -> DataNode:
        border, inside, kernel = (
            Constant(array, device=self.device) for array in (self.border, 255 - self.border, _SMOOTH)
        )
        smooth = (fn.filter(image, kernel) & inside) | (image & border)
        return _blend(smooth, fn.cast(image, dtype=DALIDataType.INT16), factor)


def _posterize(image: DataNode, mask: DataNode) -> DataNode:
    return image & _bytes(mask)


def _solarize(image: DataNode, threshold: DataNode) -> DataNode:
    return image ^ ((image >= threshold) * Constant(255, DALIDataType.UINT8))


def _invert(image: DataNode, unused: DataNode) -> DataNode:
    return image ^ Constant(255, DALIDataType.UINT8)


def _auto_contrast(image: DataNode, unused: DataNode) -> DataNode:
    """In double precision, as Pillow computes its table. A flat channel stays as it is."""
    low = fn.cast(fn.reductions.min(image, axis_names="HW", keep_dims=True), dtype=DALIDataType.FLOAT64)
    high = fn.reductions.max(image, axis_names="HW", keep_dims=True)
    flat = low == high
    scale = 255 / (high - low + flat)
    return _bytes(dali_math.floor(image * scale - (low * scale - low * flat)))


def _equalize(image: DataNode, unused: DataNode) -> DataNode:
    return fn.equalize(image)


def _equalize_pil(image: DataNode, unused: DataNode) -> DataNode:
    return fn.python_function(image, function=_pillow_equalize, output_layouts="HWC")


def _pillow_equalize(image: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.equalize(Image.fromarray(image)))


_BRANCHES = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "posterize": _posterize,
    "solarize": _solarize,
    "invert": _invert,
}


def branch(name: str, size: int, device: str, equalize: str) -> Operator:
    """The operator of an operation that is no warp."""
    if name == "sharpness":
        return _Sharpness(size, device)
    return _equalize_pil if name == "equalize" and equalize == "pil" else _BRANCHES[name]


@dataclass(frozen=True)
class Level:
    """One level of RandAugment's operations: (image, code, value, matrix) -> image, each sample by its own code.

    A code is `WARPED` or `HOLED` of operations.py, or the position of another operation in `names`.
    """

    names: Sequence[str]
    size: int
    device: str
    equalize: str
    fill: tuple[int, int, int]
    """Color of holes."""
    warps: bool = True
    """Whether any code may be `WARPED`."""
    holes: bool = False
    """Whether any code may be `HOLED`."""

    @cached_property
    def branches(self) -> list[Any]:
        return [branch(name, self.size, self.device, self.equalize) for name in self.names]

    def __call__(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        # Conditionals split the batch. The cost is operators times samples, not pixels: the frequent warp comes first,
        # the others by halving. Arithmetic wants its operands on one device; predicates and warps take theirs from
        # the host.
        value = place(value, self.device)
        if not self.branches:
            return warp(image, matrix, self.size)
        if not self.warps:
            return select(self.branches, code, image, value)
        if self.holes:
            image = self._with_holes(image, code, value, matrix)
        elif code < 0:
            image = warp(image, matrix, self.size)
        else:
            image = select(self.branches, code, image, value)
        return image

    def _with_holes(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        if code < -1:
            image = erase_hole(image, matrix, self.fill)
        elif code < 0:
            image = warp(image, matrix, self.size)
        else:
            image = select(self.branches, code, image, value)
        return image
