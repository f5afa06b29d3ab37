"""What a view of an image is, and the simplest ones: the window itself, and the weak augmentation.

A view has two halves. `params` turns uniforms into the parameters of a whole batch, in numpy, on the host; `graph`
builds the DALI operators that apply them, on the CPU or the GPU, and `apply_kernel` applies the rest, if any, to DALI's
output in one fused kernel. Neither draws anything, so a sample looks the same whatever the batch size, thread count
or number of processes.

Shape suffixes: N samples, K uniforms of one sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from semisonic.data.views import central
from semisonic.data.views.applied import Applied, of_crop, of_window
from semisonic.data.views.central import Interpolation

if TYPE_CHECKING:
    from semisonic.data.views.dali_operators import DataNode


@dataclass(frozen=True)
class Geometry:
    """Where a view's pixels come from and how large it is."""

    size: int
    """Output height and width, in pixels."""
    pad: int
    """Reflect padding that resident images already carry on each side: [size + 2 pad, size + 2 pad, 3]."""
    flip: bool
    """Whether the data set allows horizontal flips."""
    fill: tuple[int, int, int]
    """The data set's mean color, 0..255 (fills Cutout)."""
    encoded: bool = False
    """True: the source is encoded image bytes (JPEG, PNG, ...) instead of a resident array."""
    least: float = 0.2
    """Least share of its area that a weak crop of an encoded image shows."""
    device: str = "cpu"
    """Where the DALI operators run: "cpu" or "gpu"."""
    interpolation: Interpolation = "bilinear"
    """How encoded images are resized."""
    crop: float | None = None
    """Share of the shorter side that "plain" shows of an encoded image, as in central.py; None: 0.875 in whole pixels,
    of which the square is resized."""


class View(ABC):
    """One augmentation of an image at one geometry."""

    uniforms: int
    """How many U[0, 1) doubles a sample needs; a multiple of 4, 0 for a view without randomness."""
    noise_std: float = 0.0
    """Standard deviation, in normalized units, of the noise that is to be added after the hand-over."""
    kernel_params: tuple[str, ...] = ()
    """Names of the arrays of `params` that `apply_kernel` needs on the images' device; (): it has nothing to do."""
    loss_params: tuple[str, ...] = ()
    """Names of the arrays of `params` that neither `graph` nor `apply_kernel` reads, but a loss may."""
    adaptive: bool = False
    """Whether its draws depend on a table that the model gives, step by step: see `with_table`."""

    def with_table(self, table: np.ndarray) -> "View":
        """An adaptive view that draws by another table; it starts with the first one."""
        return self

    grows: bool = False
    """Whether its draws depend on how far the run is: see `at`."""

    def growing_to(self, last: "View") -> "View":
        """A view that is this one at the run's first step, another of its kind at its last step, and in between
        between. Raises ValueError where there is no such."""
        raise ValueError("nothing of it grows over a run; of randaugment M does, e.g. randaugment(2,1..9)")

    def at(self, share: float) -> "View":
        """A growing view as it is after this share of the run, 0..1; by itself it is that of the first step."""
        return self

    @abstractmethod
    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        """The parameters of a batch, float32 or int32 arrays with leading N; empty for a resident "plain".

        `uniforms_NK` has `uniforms` columns. `shapes_N2` holds (height, width) of every encoded image after
        its EXIF orientation, and is None for resident images.
        """

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        """What `params` of the same draws do to each sample, in order, for captions; of a view that does not say it,
        nothing."""
        return [[] for _ in uniforms_NK]

    @abstractmethod
    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        """Inside a pipeline definition with `enable_conditionals`: source -> uint8 HWC [size, size, 3].

        The only method that needs DALI, and the only one that imports it.

        `source` is a CPU or GPU batch of uint8 HWC images, or of bytes on the CPU if `geometry.encoded`;
        `params` holds one CPU batch for every array of `params`, except those that only `apply_kernel` or a loss needs.
        """

    def apply_kernel(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """What the graph left to do: uint8 [N, size, size, 3] -> the same, on the device, without waiting for it.

        `params` holds at least the arrays named in `kernel_params`, as tensors on the images' device.
        """
        return images


class Plain(View):
    """The central window.

    Resident: size x size pixels. Encoded: the square of 0.875 of the shorter side, or the `whole` image, resized; or
    the part that `geometry.crop` names.
    """

    uniforms = 0

    def __init__(self, geometry: Geometry, whole: bool = False):
        self.geometry, self.whole = geometry, whole
        self.crop = geometry.crop if geometry.encoded and not whole else None

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        if not self.geometry.encoded:
            return {}
        shapes_N2 = known(shapes_N2)
        if self.crop is not None:
            return central.parameters(shapes_N2, self.geometry.size, self.crop, self.geometry.interpolation)
        if self.whole:
            return {"start": int32(np.zeros_like(shapes_N2)), "shape": int32(shapes_N2)}
        side_N1 = np.maximum(np.floor(0.875 * shapes_N2.min(axis=1, keepdims=True) + 0.5), 1)
        shape_N2 = np.repeat(side_N1, 2, axis=1)
        return {"start": int32((shapes_N2 - shape_N2) // 2), "shape": int32(shape_N2)}

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        from semisonic.data.views import dali_operators as dali

        size, pad, device = self.geometry.size, self.geometry.pad, self.geometry.device
        if self.crop is not None:
            return dali.decode_center(source, params, size, device, self.geometry.interpolation)
        if self.geometry.encoded:
            return dali.decode(source, params["start"], params["shape"], size, device, self.geometry.interpolation)
        return dali.crop(dali.place(source, device), [pad, pad], [size, size])


class Weak(View):
    """Random crop, and a horizontal flip with p = 0.5 where the geometry allows it.

    Resident: one of the (2 pad + 1)^2 windows of the padded image, all equally likely. Encoded: a crop with
    area share U(least, 1) and log-uniform ratio 3/4..4/3, its sides clamped to the image, resized.
    """

    def __init__(self, geometry: Geometry, noise_std: float = 0.0):
        self.geometry = geometry
        self.noise_std = noise_std
        self.uniforms = 8 if geometry.encoded else 4

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        flip_N = (uniforms_NK[:, 2] < 0.5) & self.geometry.flip
        if self.geometry.encoded:
            start_N2, shape_N2 = resized_crop(uniforms_NK[:, [0, 1, 3, 4]], known(shapes_N2), self.geometry.least)
            return {"start": int32(start_N2), "shape": int32(shape_N2), "mirror": int32(flip_N)}
        offset_N2 = np.floor(uniforms_NK[:, :2] * (2 * self.geometry.pad + 1))
        window_N23 = np.tile(np.eye(2, 3, dtype=np.float32), (len(flip_N), 1, 1))
        window_N23[:, 0, 0] = np.where(flip_N, -1, 1)
        window_N23[:, 0, 2] = offset_N2[:, 1] + np.where(flip_N, self.geometry.size, 0)
        window_N23[:, 1, 2] = offset_N2[:, 0]
        return {"window": window_N23}

    def applied(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> list[list[Applied]]:
        params = self.params(uniforms_NK, shapes_N2)
        if shapes_N2 is not None and self.geometry.encoded:
            found = of_crop(params, shapes_N2.prod(axis=1))
        else:
            found = of_window(params, self.geometry.pad, self.geometry.size)
        return [[*done, Applied("noise", self.noise_std)] if self.noise_std else done for done in found]

    def graph(self, source: "DataNode", params: Mapping[str, "DataNode"]) -> "DataNode":
        from semisonic.data.views import dali_operators as dali

        size, device = self.geometry.size, self.geometry.device
        if self.geometry.encoded:
            interpolation = self.geometry.interpolation
            image = dali.decode(source, params["start"], params["shape"], size, device, interpolation)
            return dali.flip(image, params["mirror"])
        # One warp is faster than crop + flip, and exact: all coordinates are half-integers.
        return dali.warp(dali.place(source, device), params["window"], size)


def resized_crop(uniforms_N4: np.ndarray, shapes_N2: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Start and shape, (y, x) each, from uniforms for y, x, area share (from `least` on) and aspect ratio."""
    area_N = shapes_N2.prod(axis=1, dtype=np.float64) * (least + (1 - least) * uniforms_N4[:, 2])
    ratio_N = np.exp(np.log(4 / 3) * (2 * uniforms_N4[:, 3] - 1))
    shape_N2 = np.sqrt(np.stack([area_N / ratio_N, area_N * ratio_N], axis=1))
    shape_N2 = np.clip(np.round(shape_N2), 1, shapes_N2)
    return np.floor(uniforms_N4[:, :2] * (shapes_N2 - shape_N2 + 1)), shape_N2


def int32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)


def known(shapes_N2: np.ndarray | None) -> np.ndarray:
    if shapes_N2 is None:
        raise ValueError("encoded images need their shapes")
    return shapes_N2
