"""CTAugment as a view (arXiv 1911.09785): two operations whose strengths are drawn by learned rates.

A parameter's bin is drawn in proportion to m' = (m + 0.01) / max (m + 0.01), where m' below 0.8 counts as 0, and its
value uniformly within the bin. The rates m and how they move: semisonic_kernels/ctaugment.py.

Shape suffixes: N samples, K uniforms of one sample, D operations of a sample, C samples of one operation, P parameters
of all operations, B bins, 2 parameters of an operation at most.
"""

import copy
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semisonic.data.views.applied import LEVEL, Applied, of_holes
from semisonic.data.views.operations import MATRICES, VALUES, hole_matrix
from semisonic.data.views.policies import clipped_hole
from semisonic.data.views.view import Geometry, View, Weak, int32
from semisonic_kernels import augment as kernel
from semisonic_kernels.ctaugment import BINS, DECAY, MOST_BINS, OPERATION_BINS, first_rates

if TYPE_CHECKING:
    from semisonic.data.views.dali_operators import DataNode

DEPTH = 2
THRESHOLD = 0.8
UNIFORMS = 8
"""Of one operation: which one, then bin and place within it for each of two parameters, and a hole's center (y, x)."""

_NAMES = list(OPERATION_BINS)
_COUNTS = [len(bins) for bins in OPERATION_BINS.values()]
_FIRST = np.array([end - count for end, count in zip(accumulate(_COUNTS), _COUNTS, strict=True)])
_EFFECTS = {  # blends: level 1 is the whole effect; smoothing is the other end of sharpness
    "auto_contrast": kernel.AUTO_CONTRAST,
    "blur": kernel.BLUR,
    "equalize": kernel.EQUALIZE,
    "invert": kernel.INVERT,
    "smooth": kernel.SHARPNESS,
}
_FACTORS = {
    "brightness": kernel.BRIGHTNESS,
    "color": kernel.COLOR,
    "contrast": kernel.CONTRAST,
    "sharpness": kernel.SHARPNESS,
}


def probabilities(rates_PB: np.ndarray) -> np.ndarray:
    """Of the bins of every parameter, [P, B]."""
    own_PB = np.arange(MOST_BINS) < np.array(BINS)[:, None]
    share_PB = np.where(own_PB, rates_PB + (1 - DECAY), 0)
    share_PB = share_PB / share_PB.max(axis=1, keepdims=True)
    share_PB[share_PB < THRESHOLD] = 0
    return share_PB / share_PB.sum(axis=1, keepdims=True)


class CTAugment(View):
    """`weak`, two operations with bins drawn by the rates (or all equally likely: a probe), and maybe Cutout.

    Everything after the window is done by the fused kernel, or with `operations="dali"` by its plain-torch definition.
    """

    def __init__(
        self,
        geometry: Geometry,
        probe: bool = False,
        cutout: bool = True,
        equalize: str = "dali",
        operations: str = "kernel",
    ):
        self.geometry, self.equalize, self.cutout = geometry, equalize, cutout and not probe
        self.weak = Weak(geometry)
        self.uniforms = self.weak.uniforms + DEPTH * UNIFORMS + 4 * self.cutout
        self.kernel_params = ("operations", "values", "matrices", *(["holes"] if self.cutout else []))
        self.loss_params = ("bins",) if probe else ()
        self.adaptive = not probe
        self.chances_PB = probabilities(first_rates().numpy())  # all bins alike, as a probe draws them
        self.augment = kernel.augment_reference if operations == "dali" else kernel.augment

    def with_table(self, table: np.ndarray) -> "CTAugment":
        other = copy.copy(self)
        other.chances_PB = probabilities(table)
        return other

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        count = len(uniforms_NK)
        params = self.weak.params(uniforms_NK[:, : self.weak.uniforms], shapes_N2)
        blocks = self._blocks(uniforms_NK)
        operation, level, position = self._draw(blocks)
        encoded = _encode(operation, level, blocks[:, 5:7], self.geometry.size)
        code_ND, value_ND, matrix_ND23 = (array.reshape(count, DEPTH, *array.shape[1:]) for array in encoded)
        params |= {"operations": code_ND, "values": value_ND, "matrices": matrix_ND23}
        if self.loss_params:
            params["bins"] = int32(position.reshape(count, DEPTH, 2))
        if self.cutout:
            params["holes"] = self._holes(uniforms_NK)
        return params

    def _blocks(self, uniforms_NK: np.ndarray) -> np.ndarray:
        """The uniforms of the operations of all samples, one after the other: [N D, UNIFORMS]."""
        first = self.weak.uniforms
        return uniforms_NK[:, first : first + DEPTH * UNIFORMS].reshape(-1, UNIFORMS)

    def _holes(self, uniforms_NK: np.ndarray) -> np.ndarray:
        """int32 [N, 4]."""
        half = (1 + int(0.499 * self.geometry.size)) // 2
        sides = np.full((len(uniforms_NK), 1), 2 * half)
        return int32(np.hstack(clipped_hole(sides, uniforms_NK[:, -3:-1], self.geometry.size)))

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        """Strengths are levels from 0, the least, to 1, the greatest that its rates may give."""
        operation, level, _ = self._draw(self._blocks(uniforms_NK))
        done = [
            Applied(_NAMES[which], how[0] if _COUNTS[which] else None, LEVEL)
            for which, how in zip(operation.tolist(), level.tolist(), strict=True)
        ]
        weak = self.weak.applied(uniforms_NK[:, : self.weak.uniforms], shapes_N2)
        holes = of_holes(self._holes(uniforms_NK)) if self.cutout else [[] for _ in weak]
        return [
            [*first, *done[DEPTH * sample : DEPTH * (sample + 1)], *last]
            for sample, (first, last) in enumerate(zip(weak, holes, strict=True))
        ]

    def _draw(self, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Operations [N], levels [N, 2] in 0..1 and positions of their bins in the flattened rates [N, 2], or -1."""
        operation = np.floor(uniforms[:, 0] * len(_NAMES)).astype(np.int64)
        row = _FIRST[operation][:, None] + np.arange(2)
        used = np.arange(2) < np.array(_COUNTS)[operation][:, None]
        row = np.where(used, row, 0)
        limits = np.cumsum(self.chances_PB, axis=1)[row]  # [N, 2, B]
        bins = np.array(BINS)[row]
        chosen = np.minimum((uniforms[:, [1, 3], None] * limits[..., -1:] >= limits).sum(axis=-1), bins - 1)
        level = (chosen + uniforms[:, [2, 4]]) / bins
        return operation, level, np.where(used, row * MOST_BINS + chosen, -1)

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        return self.weak.graph(source, params)

    def apply_kernel(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        operations, values, matrices = (params[name] for name in ("operations", "values", "matrices"))
        holes, fill = params.get("holes"), self.geometry.fill
        return self.augment(images, operations, values, matrices, holes, fill, self.equalize, extended=True)


def _encode(
    operation_N: np.ndarray, level_N2: np.ndarray, centers_N2: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of the kernel [N], values [N] and matrices [N, 2, 3]."""
    code_N, value_N = np.zeros(len(operation_N), np.int32), np.zeros(len(operation_N))
    matrix_N23 = np.tile(np.eye(2, 3), (len(operation_N), 1, 1))
    for index, name in enumerate(_NAMES):
        chosen = np.flatnonzero(operation_N == index)
        level_C = level_N2[chosen, 0]
        if name in _EFFECTS:
            code_N[chosen], value_N[chosen] = _EFFECTS[name], 1 - level_C
        elif name in _FACTORS:
            code_N[chosen], value_N[chosen] = _FACTORS[name], 0.1 + 1.9 * level_C
        elif name == "posterize":
            code_N[chosen], value_N[chosen] = kernel.POSTERIZE, VALUES[name](1 + np.floor(7.999 * level_C))
        elif name == "solarize":
            code_N[chosen], value_N[chosen] = kernel.SOLARIZE, np.floor(255.999 * level_C)
        elif name == "cutout":
            side_C1 = 2 * ((1 + np.floor(0.499 * size * level_C[:, None])) // 2)
            code_N[chosen] = kernel.HOLE
            matrix_N23[chosen] = hole_matrix(*clipped_hole(side_C1, centers_N2[chosen], size))
        elif name == "rescale":
            code_N[chosen], value_N[chosen] = kernel.RESCALE, np.floor(5.99 * level_N2[chosen, 1])
            matrix_N23[chosen, 0, 0] = matrix_N23[chosen, 1, 1] = 1 - 0.5 * level_C
            matrix_N23[chosen, 0, 2] = matrix_N23[chosen, 1, 2] = 0.25 * level_C * size
        elif name != "identity":
            code_N[chosen] = kernel.WARP
            MATRICES[name](matrix_N23, chosen, _MOVES[name](2 * level_C - 1, size), size)
    return code_N, value_N.astype(np.float32), matrix_N23.astype(np.float32)


def _shear(direction_C: np.ndarray, size: int) -> np.ndarray:
    return 0.3 * direction_C


_MOVES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "rotate": lambda direction_C, size: np.round(45 * direction_C),
    "shear_x": _shear,
    "shear_y": _shear,
    "translate_x": lambda direction_C, size: 0.3 * size * direction_C,
    "translate_y": lambda direction_C, size: 0.3 * size * direction_C,
}
"""Degrees, shear or pixels at a level, as a direction -1..1."""
