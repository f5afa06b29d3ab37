"""What Pillow's operations do, as arguments of DALI operators (`dali_operators.py`) or of the fused kernel.

Shape suffixes: N samples, C the chosen ones.
"""

import numpy as np

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
    center = size / 2
    matrix_N23[chosen, 0] = np.stack([cosine_C, -sine_C, center * (1 - cosine_C + sine_C)], axis=1)
    matrix_N23[chosen, 1] = np.stack([sine_C, cosine_C, center * (1 - cosine_C - sine_C)], axis=1)


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


def _unused(unused_C: np.ndarray) -> np.ndarray:
    return np.zeros_like(unused_C)


VALUES = {
    "auto_contrast": _unused,
    "equalize": _unused,
    "invert": _unused,
    "posterize": _posterize_mask,
    "solarize": _solarize_threshold,
    "brightness": _factor,
    "contrast": _factor,
    "color": _factor,
    "sharpness": _factor,
}
"""Magnitude -> the number that the operator takes."""


def hole_matrix(start_C2: np.ndarray, stop_C2: np.ndarray) -> np.ndarray:
    """A hole as a [C, 2, 3]: first and last + 1 (y, x), which the kernel's HOLE reads, and the shape, for DALI."""
    return np.concatenate([start_C2, stop_C2, stop_C2 - start_C2], axis=1).reshape(-1, 2, 3)


WARPED, HOLED = -1, -2
"""Codes of warps and holes among DALI's operators; those of other operations are positions in a list of them."""

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

OPERATIONS = [*MATRICES, *VALUES]
"""Names of all operations of one magnitude; "cutout", a square hole, needs its center as well."""
