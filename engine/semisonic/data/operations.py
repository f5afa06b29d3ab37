"""What Pillow's operations do, as arguments of DALI operators or of the fused kernel, and the DALI operators: one warp
for all geometric ones, and one operator for each other.

Pillow truncates where DALI's casts round, hence the floors; casts to uint8 saturate, so nothing is clamped.
Shape suffixes: N samples, C the chosen ones.
"""

from collections.abc import Callable

import numpy as np
from nvidia.dali import fn
from nvidia.dali import math as dali_math
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import Constant, DALIDataType, DALIImageType, DALIInterpType
from PIL import Image, ImageOps

from semisonic_kernels import augment as kernel


def _shear_x(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    matrix_N23[chosen, 0, 1] = magnitude_C


def _shear_y(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    matrix_N23[chosen, 1, 0] = magnitude_C


def _translate_x(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    matrix_N23[chosen, 0, 2] = magnitude_C


def _translate_y(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    matrix_N23[chosen, 1, 2] = magnitude_C


def _rotate(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    cosine_C, sine_C = np.cos(np.deg2rad(magnitude_C)), np.sin(np.deg2rad(magnitude_C))
    centre = size / 2
    matrix_N23[chosen, 0] = np.stack([cosine_C, -sine_C, centre * (1 - cosine_C + sine_C)], axis=1)
    matrix_N23[chosen, 1] = np.stack([sine_C, cosine_C, centre * (1 - cosine_C - sine_C)], axis=1)


def _unmoved(matrix_N23: np.ndarray, chosen: np.ndarray, magnitude_C: np.ndarray, size: int) -> None:
    pass


MATRICES = {
    "identity": _unmoved,
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""Write output -> input coordinates, [N, 2, 3], at the C chosen samples; magnitudes in degrees or pixels."""


def _posterize_mask(bits_C: np.ndarray) -> np.ndarray:
    return 256 - 2 ** (8 - np.clip(bits_C, 1, 8))


def _solarize_threshold(threshold_C: np.ndarray) -> np.ndarray:
    return np.clip(np.ceil(threshold_C), 0, 256)


def _factor(factor_C: np.ndarray) -> np.ndarray:
    return np.maximum(factor_C, 0)


def _whole(unused_C: np.ndarray) -> np.ndarray:
    return np.zeros_like(unused_C)


VALUES = {
    "auto_contrast": _whole,
    "equalize": _whole,
    "invert": _whole,
    "posterize": _posterize_mask,
    "solarize": _solarize_threshold,
    "brightness": _factor,
    "contrast": _factor,
    "color": _factor,
    "sharpness": _factor,
}
"""Magnitude -> the number that the operator takes."""

_GREY = [weight / 65536 for weight in (19595, 38470, 7471)]
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def warp(image: DataNode, matrix: DataNode, size: int) -> DataNode:
    return fn.warp_affine(
        image,
        matrix=matrix,
        size=[size, size],
        interp_type=DALIInterpType.INTERP_NN,
        fill_value=0,
        inverse_map=True,
    )


def hole_matrix(start_C2: np.ndarray, stop_C2: np.ndarray) -> np.ndarray:
    """A hole as a [C, 2, 3] that the kernel's HOLE reads, first and last + 1 (y, x), and `erase`, with its shape."""
    return np.concatenate([start_C2, stop_C2, stop_C2 - start_C2], axis=1).reshape(-1, 2, 3)


def erase(image: DataNode, matrix: DataNode, fill: tuple[int, int, int]) -> DataNode:
    """Paints the hole of a `hole_matrix`."""
    anchor, shape = matrix[0, 0:2], matrix[1, 1:3]
    return fn.erase(image, anchor=anchor, shape=shape, axis_names="HW", fill_value=list(map(float, fill)))


def _bytes(pixels: DataNode) -> DataNode:
    return fn.cast(pixels, dtype=DALIDataType.UINT8)


def _blend(degenerate: DataNode, image: DataNode, factor: DataNode) -> DataNode:
    """`image` must not be uint8 if `degenerate` is: DALI's uint8 differences wrap."""
    return _bytes(dali_math.floor((image - degenerate) * factor + degenerate))


def _brightness(image: DataNode, factor: DataNode) -> DataNode:
    return _bytes(dali_math.floor(image * factor))


def _contrast(image: DataNode, factor: DataNode) -> DataNode:
    grey = fn.coord_transform(image, M=_GREY, dtype=DALIDataType.UINT8)
    mean = dali_math.floor(fn.reductions.mean(grey) + 0.5)
    return _blend(mean, image, factor)


def _color(image: DataNode, factor: DataNode) -> DataNode:
    grey = fn.coord_transform(image, M=_GREY, dtype=DALIDataType.UINT8)
    grey = fn.color_space_conversion(grey, image_type=DALIImageType.GRAY, output_type=DALIImageType.RGB)
    return _blend(grey, fn.cast(image, dtype=DALIDataType.INT16), factor)


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


CODES = {
    **dict.fromkeys(MATRICES, kernel.WARP),
    "identity": kernel.NONE,
    "auto_contrast": kernel.AUTO_CONTRAST,
    "equalize": kernel.EQUALIZE,
    "brightness": kernel.BRIGHTNESS,
    "color": kernel.COLOR,
    "contrast": kernel.CONTRAST,
    "sharpness": kernel.SHARPNESS,
    "posterize": kernel.POSTERIZE,
    "solarize": kernel.SOLARIZE,
    "invert": kernel.INVERT,
    "cutout": kernel.HOLE,
}
"""Codes of the operations in the fused kernel."""

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

OPERATIONS = [*MATRICES, *_BRANCHES, "sharpness"]
"""Names of all operations of one magnitude; "cutout", a square hole, needs its centre as well."""


def branch(name: str, size: int, device: str, equalize: str) -> Callable[[DataNode, DataNode], DataNode]:
    """The operator (image, argument) -> image of an operation that is no warp."""
    if name == "sharpness":
        return _Sharpness(size, device)
    return _equalize_pil if name == "equalize" and equalize == "pil" else _BRANCHES[name]
