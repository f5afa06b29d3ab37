"""The views of SimCLR (Chen et al. 2020, arXiv 2002.05709), without its blur: resized crop, flip, colors, gray.

Shape suffixes: N samples, K uniforms of one sample, 4 color operations, 5 with the gray one.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semisonic.data.views.applied import Applied, of_crop
from semisonic.data.views.view import Geometry, View, int32, known, resized_crop
from semisonic_kernels.augment import BRIGHTNESS, COLOR, CONTRAST, HUE, NONE, augment, augment_reference

if TYPE_CHECKING:
    from semisonic.data.views.dali_operators import DataNode

ORDERS = np.array(list(permutations(range(4))))
"""Of brightness, contrast, saturation and hue, all equally likely."""
NAMES = {BRIGHTNESS: "brightness", CONTRAST: "contrast", COLOR: "color", HUE: "hue"}
JITTERED, GRAY = 0.8, 0.2
"""Shares of the images whose colors are changed, and of those that become gray after it."""
SMALLEST = 0.08
"""Area of the crop: U(SMALLEST, 1) of the image's, at a log-uniform ratio of 3/4 to 4/3."""


class SimCLR(View):
    """A resized crop, a flip with p = 0.5 where the geometry allows it, and with p = 0.8 four changes of color.

    At strength s, brightness, contrast and saturation change by factors U(1 - 0.8 s, 1 + 0.8 s), from 0 on, and the
    hue by U(-0.2 s, 0.2 s) of a turn, in random order; then one image in five becomes gray. Resident images are
    cropped inside their reflected margin. Colors change in the fused kernel, or with `operations="dali"`, since DALI
    has no such hue, in its plain-torch definition.
    """

    uniforms = 12
    kernel_params = ("operations", "values", "matrices")

    def __init__(self, geometry: Geometry, strength: float = 0.5, operations: str = "kernel"):
        self.geometry, self.strength = geometry, strength
        self.augment = augment_reference if operations == "dali" else augment

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        count, geometry = len(uniforms_NK), self.geometry
        shapes_N2 = known(shapes_N2) if geometry.encoded else np.full((count, 2), geometry.size)
        start_N2, shape_N2 = resized_crop(uniforms_NK[:, :4], shapes_N2, SMALLEST)
        start_N2 = start_N2 if geometry.encoded else start_N2 + geometry.pad
        flip_N = (uniforms_NK[:, 4] < 0.5) & geometry.flip
        code_N5, value_N5 = self._colors(uniforms_NK)
        return {
            "start": int32(start_N2),
            "shape": int32(shape_N2),
            "mirror": int32(flip_N),
            "operations": int32(code_N5),
            "values": value_N5.astype(np.float32),
            "matrices": np.zeros((count, 5, 2, 3), np.float32),
        }

    def _colors(self, uniforms_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = 2 * uniforms_NK[:, 8:12] - 1
        value_N4 = np.maximum(1 + 0.8 * self.strength * spread, 0)
        value_N4[:, 3] = 0.2 * self.strength * spread[:, 3]
        order_N4 = ORDERS[np.floor(uniforms_NK[:, 7] * len(ORDERS)).astype(np.int64)]
        code_N4 = np.array([BRIGHTNESS, CONTRAST, COLOR, HUE])[order_N4]
        code_N4[uniforms_NK[:, 5] >= JITTERED] = NONE
        gray_N1 = np.where(uniforms_NK[:, 6:7] < GRAY, COLOR, NONE)  # the factor 0
        value_N4 = np.take_along_axis(value_N4, order_N4, axis=1)
        return np.hstack([code_N4, gray_N1]), np.hstack([value_N4, np.zeros_like(value_N4[:, :1])])

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        params, geometry = self.params(uniforms_NK, shapes_N2), self.geometry
        areas_N = known(shapes_N2).prod(axis=1) if geometry.encoded else np.full(len(uniforms_NK), geometry.size**2)
        found = of_crop(params, areas_N)
        for done, codes, values in zip(found, params["operations"].tolist(), params["values"].tolist(), strict=True):
            *colors, gray = [(NAMES.get(code), value) for code, value in zip(codes, values, strict=True)]
            done += [Applied(name, value) for name, value in colors if name]
            done += [Applied("gray")] if gray[0] else []
        return found

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        from semisonic.data.views import dali_operators as dali

        size, device = self.geometry.size, self.geometry.device
        if self.geometry.encoded:
            interpolation = self.geometry.interpolation
            image = dali.decode(source, params["start"], params["shape"], size, device, interpolation)
        else:
            window = dali.crop(dali.place(source, device), params["start"], params["shape"])
            image = dali.resize(window, size)
        return dali.flip(image, params["mirror"])

    def apply_kernel(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        operations, values, matrices = (params[name] for name in self.kernel_params)
        return self.augment(images, operations, values, matrices, None, self.geometry.fill, extended=True)
