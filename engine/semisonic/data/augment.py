"""The views of an image: crops, RandAugment pools and Cutout with host-drawn parameters.

A view has two halves. `params` turns uniforms into the parameters of a whole batch, in numpy, on the host; `graph`
builds the DALI operators that apply them, on the CPU or the GPU, and `finish` applies the rest, if any, to DALI's
output in one fused kernel. Neither draws anything, so a sample looks the same whatever the batch size, thread count
or number of processes.

Shape suffixes: N samples, K uniforms of one sample, L levels of operations, O operations of a pool.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nvidia.dali import fn
from nvidia.dali.auto_aug.core import select
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIImageType, DALIInterpType
from torch import Tensor

from semisonic.data.operations import CODES, MATRICES, VALUES, branch, warp
from semisonic.data.pools import POLICIES, Policy, Range, draw_hole, draw_operations, randaugment_policy
from semisonic.schema import UserError
from semisonic_kernels.augment import NONE, augment

RECIPES = {
    "plain": "the central window, no randomness",
    "whole": "the whole image, resized to the square, no randomness",
    "weak": "random crop (reflect-padded, or resized from a file), and a flip where the data set allows it",
    "fixmatch": "weak, 2 operations of the paper's pool, uniform magnitudes, Cutout of up to half the width",
    "usb": "as fixmatch with 3 operations, Cutout filled with (125, 123, 114)",
    "kekmodel": "weak, 2 operations each with p = 0.5 at 9 magnitudes, a 16-pixel Cutout filled with 127",
    "randaugment(N,M)": "weak, N operations at global magnitude M of 0..30, no Cutout",
    "noise(STD)": "weak, then Gaussian noise in normalised units; plain `noise` is noise(0.15)",
}
"""What `build_view` accepts, with one line each."""

EXAMPLES = ["plain", "weak", "fixmatch", "usb", "kekmodel", "randaugment(2,9)", "noise"]
"""One recipe of every kind."""


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
    """The data set's mean colour, 0..255 (fills Cutout)."""
    encoded: bool = False
    """True: the source is encoded image bytes (JPEG, PNG, ...) instead of a resident array."""
    device: str = "cpu"
    """Where the DALI operators run: "cpu" or "gpu"."""


class View(ABC):
    """One augmentation of an image at one geometry."""

    uniforms: int
    """How many U[0, 1) doubles a sample needs; a multiple of 4, 0 for a view without randomness."""
    noise_std: float = 0.0
    """Standard deviation, in normalised units, of the noise that is to be added after the hand-over."""
    finishing: tuple[str, ...] = ()
    """Names of the arrays of `params` that `finish` needs on the images' device; () where it has nothing to do."""

    @abstractmethod
    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        """The parameters of a batch, float32 or int32 arrays with leading N; empty for a resident "plain".

        `uniforms_NK` has `uniforms` columns. `shapes_N2` holds (height, width) of every encoded image after
        its EXIF orientation, and is None for resident images.
        """

    @abstractmethod
    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        """Inside a pipeline definition with `enable_conditionals`: source -> uint8 HWC [size, size, 3].

        `source` is a CPU or GPU batch of uint8 HWC images, or of bytes on the CPU if `geometry.encoded`;
        `params` holds one CPU batch for every array of `params`, except those that only `finish` needs.
        """

    def finish(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """What the graph left to do: uint8 [N, size, size, 3] -> the same, on the device, without waiting for it.

        `params` holds at least the arrays named in `finishing`, as tensors on the images' device.
        """
        return images


def build_view(recipe: str, geometry: Geometry, equalize: str = "dali", operations: str = "dali") -> View:
    """The view that a recipe of `RECIPES` names, e.g. "fixmatch" or "randaugment(2,9)".

    `operations` says where RandAugment's operations and Cutout run: "dali", as DALI operators, or "kernel" (also
    "auto"), in `finish`; draws and pixels are the same. `equalize` chooses between DALI's histogram equalisation
    (OpenCV's formula) and Pillow's ("pil"; on a GPU only in the kernel), whose integer steps saturate up to a quarter
    of the pixels of a small image. UserError for an unknown recipe, arguments out of range, or Pillow's formula as a
    DALI operator on a GPU.
    """
    if equalize not in ("dali", "pil"):
        raise UserError(f"data.equalize: {equalize!r} is not valid; choose 'dali' or 'pil'")
    if operations not in ("auto", "dali", "kernel"):
        raise UserError(f"data.operations: {operations!r} is not valid; choose 'auto', 'dali' or 'kernel'")
    if equalize == "pil" and operations == "dali" and geometry.device == "gpu":
        raise UserError("data.equalize: 'pil' is no DALI operator on a GPU; choose data.operations=kernel, or 'dali'")
    name, arguments = _parse(recipe)
    if name == "plain" and not arguments:
        return Plain(geometry)
    if name == "whole" and not arguments:
        return Plain(geometry, whole=True)
    if name == "weak" and not arguments:
        return Weak(geometry)
    if name in POLICIES and not arguments:
        return RandAugment(geometry, POLICIES[name], equalize, operations)
    if name == "randaugment":
        return RandAugment(geometry, randaugment_policy(recipe, arguments), equalize, operations)
    if name == "noise" and len(arguments) <= 1:
        noise_std = arguments[0] if arguments else 0.15
        if noise_std < 0:
            raise UserError(f"augmentation {recipe!r}: the standard deviation must be at least 0")
        return Weak(geometry, noise_std)
    raise _unknown(recipe)


def single_operation(
    name: str, magnitude: float, geometry: Geometry, equalize: str = "dali", operations: str = "dali"
) -> View:
    """A view that is the crop of `weak` and then exactly one operation of `OPERATIONS` at `magnitude`."""
    policy = Policy({name: Range(magnitude, magnitude)}, levels=1)
    return RandAugment(geometry, policy, equalize, operations)


class Plain(View):
    """The central window.

    Resident: size x size pixels. Encoded: the square of 0.875 of the shorter side, or the `whole` image, resized.
    """

    uniforms = 0

    def __init__(self, geometry: Geometry, whole: bool = False):
        self.geometry, self.whole = geometry, whole

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        if not self.geometry.encoded:
            return {}
        shapes_N2 = _known(shapes_N2)
        if self.whole:
            return {"start": _int32(np.zeros_like(shapes_N2)), "shape": _int32(shapes_N2)}
        side_N1 = np.maximum(np.floor(0.875 * shapes_N2.min(axis=1, keepdims=True) + 0.5), 1)
        shape_N2 = np.repeat(side_N1, 2, axis=1)
        return {"start": _int32((shapes_N2 - shape_N2) // 2), "shape": _int32(shape_N2)}

    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        if self.geometry.encoded:
            return _decode(source, params["start"], params["shape"], self.geometry)
        size, pad = self.geometry.size, self.geometry.pad
        return fn.slice(_place(source, self.geometry), start=[pad, pad], shape=[size, size], axis_names="HW")


class Weak(View):
    """Random crop, and a horizontal flip with p = 0.5 where the geometry allows it.

    Resident: one of the (2 pad + 1)^2 windows of the padded image, all equally likely. Encoded: a crop with
    area share U(0.2, 1) and log-uniform ratio 3/4..4/3, its sides clamped to the image, resized.
    """

    def __init__(self, geometry: Geometry, noise_std: float = 0.0):
        self.geometry = geometry
        self.noise_std = noise_std
        self.uniforms = 8 if geometry.encoded else 4

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        flip_N = (uniforms_NK[:, 2] < 0.5) & self.geometry.flip
        if self.geometry.encoded:
            start_N2, shape_N2 = _resized_crop(uniforms_NK[:, [0, 1, 3, 4]], _known(shapes_N2))
            return {"start": _int32(start_N2), "shape": _int32(shape_N2), "mirror": _int32(flip_N)}
        offset_N2 = np.floor(uniforms_NK[:, :2] * (2 * self.geometry.pad + 1))
        window_N23 = np.tile(np.eye(2, 3, dtype=np.float32), (len(flip_N), 1, 1))
        window_N23[:, 0, 0] = np.where(flip_N, -1, 1)
        window_N23[:, 0, 2] = offset_N2[:, 1] + np.where(flip_N, self.geometry.size, 0)
        window_N23[:, 1, 2] = offset_N2[:, 0]
        return {"window": window_N23}

    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        size = self.geometry.size
        if self.geometry.encoded:
            image = _decode(source, params["start"], params["shape"], self.geometry)
            return fn.flip(image, horizontal=params["mirror"])
        # One warp is faster than crop + flip, and exact: all coordinates are half-integers.
        return warp(_place(source, self.geometry), params["window"], size)


def _resized_crop(uniforms_N4: np.ndarray, shapes_N2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and shape, (y, x) each, from uniforms for y, x, area share and aspect ratio."""
    area_N = shapes_N2.prod(axis=1, dtype=np.float64) * (0.2 + 0.8 * uniforms_N4[:, 2])
    ratio_N = np.exp(np.log(4 / 3) * (2 * uniforms_N4[:, 3] - 1))
    shape_N2 = np.sqrt(np.stack([area_N / ratio_N, area_N * ratio_N], axis=1))
    shape_N2 = np.clip(np.round(shape_N2), 1, shapes_N2)
    return np.floor(uniforms_N4[:, :2] * (shapes_N2 - shape_N2 + 1)), shape_N2


def _decode(source: DataNode, start: DataNode, shape: DataNode, geometry: Geometry) -> DataNode:
    device = "mixed" if geometry.device == "gpu" else "cpu"
    window = fn.decoders.image_slice(
        source, start=start, shape=shape, axis_names="HW", device=device, output_type=DALIImageType.RGB
    )
    size = [geometry.size, geometry.size]
    resized = fn.resize(window, size=size, interp_type=DALIInterpType.INTERP_LINEAR, antialias=True)
    return resized  # type: ignore[return-value]


class RandAugment(View):
    """`weak`, then a policy's operations, then its Cutout (arXiv 1909.13719 and its descendants)."""

    def __init__(self, geometry: Geometry, policy: Policy, equalize: str = "dali", operations: str = "dali"):
        self.geometry, self.policy, self.equalize = geometry, policy, equalize
        self.weak = Weak(geometry)
        self.uniforms = self.weak.uniforms + 4 * policy.levels + 4 * (policy.cutout is not None)
        pool = list(policy.operations)
        self.branches: list = []
        self.always_a_branch = False
        if operations == "dali":
            # Every geometric operation is one warp, marked by -1; the others are numbered by their branch.
            others = [name for name in pool if name not in MATRICES]
            self.branches = [branch(name, geometry.size, geometry.device, equalize) for name in others]
            codes, none = [-1 if name in MATRICES else others.index(name) for name in pool], -1
            self.always_a_branch = policy.probability == 1 and min(codes) >= 0
        else:
            codes, none = [CODES[name] for name in pool], NONE
            self.finishing = ("operations", "values", "matrices", *(["holes"] if policy.cutout else []))
        self._code_O = np.array([*codes, none], np.int32)  # operation -1 is the last

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        first, levels = self.weak.uniforms, self.policy.levels
        params = self.weak.params(uniforms_NK[:, :first], shapes_N2)
        blocks = uniforms_NK[:, first : first + 4 * levels].reshape(-1, 4)
        encoded = self._encode(*draw_operations(self.policy, blocks))
        code_NL, value_NL, matrix_NL23 = (array.reshape(-1, levels, *array.shape[1:]) for array in encoded)
        if self.finishing:
            params |= {"operations": code_NL, "values": value_NL, "matrices": matrix_NL23}
        else:
            for name, array in (("code", code_NL), ("value", value_NL), ("matrix", matrix_NL23)):
                params |= {f"{name}{level}": np.ascontiguousarray(array[:, level]) for level in range(levels)}
        if self.policy.cutout is not None:
            start_N2, stop_N2 = draw_hole(self.policy.cutout, uniforms_NK[:, -4:], self.geometry.size)
            if self.finishing:
                params["holes"] = _int32(np.concatenate([start_N2, stop_N2], axis=1))
            else:
                params["hole_start"] = start_N2.astype(np.float32)
                params["hole_shape"] = (stop_N2 - start_N2).astype(np.float32)
        return params

    def _encode(self, operation_N: np.ndarray, magnitude_N: np.ndarray) -> tuple[np.ndarray, ...]:
        """Operations (-1: none) and magnitudes -> codes [N], their arguments [N], warps [N, 2, 3]."""
        value_N = magnitude_N.copy()
        matrix_N23 = np.tile(np.eye(2, 3), (len(operation_N), 1, 1))
        for index, name in enumerate(self.policy.operations):
            if name not in VALUES and name not in MATRICES:
                continue
            chosen = np.flatnonzero(operation_N == index)
            if name in VALUES:
                value_N[chosen] = VALUES[name](magnitude_N[chosen])
                continue
            magnitude_C, size = magnitude_N[chosen], self.geometry.size
            if name.startswith("translate"):
                magnitude_C = magnitude_C * size
                magnitude_C = np.trunc(magnitude_C) if self.policy.whole_pixels else magnitude_C
            MATRICES[name](matrix_N23, chosen, magnitude_C, size)
        return self._code_O[operation_N], value_N.astype(np.float32), matrix_N23.astype(np.float32)

    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        image = self.weak.graph(source, params)
        if self.finishing:
            return image
        for level in range(self.policy.levels):
            code, value, matrix = (params[f"{name}{level}"] for name in ("code", "value", "matrix"))
            # Arithmetic wants its operands on one device; predicates and warps take theirs from the host.
            image = self._level(image, code, _place(value, self.geometry), matrix)
        if self.policy.cutout is not None:
            anchor, shape = params["hole_start"], params["hole_shape"]
            image = fn.erase(image, anchor=anchor, shape=shape, axis_names="HW", fill_value=list(map(float, self.fill)))
        return image

    @property
    def fill(self) -> tuple[int, int, int]:
        """Cutout's colour."""
        own = self.policy.cutout.fill if self.policy.cutout else None
        return own or self.geometry.fill

    def finish(self, images: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        if not self.finishing:
            return images
        operations, values, matrices = (params[name] for name in ("operations", "values", "matrices"))
        return augment(images, operations, values, matrices, params.get("holes"), self.fill, self.equalize)

    def _level(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        """A warp where code is -1, else branches[code](image, value). Conditionals split the batch.

        The cost is operators times samples, not pixels: the frequent warp comes first, the others by halving.
        """
        if not self.branches:
            return warp(image, matrix, self.geometry.size)
        if self.always_a_branch:
            return select(self.branches, code, image, value)
        if code < 0:
            image = warp(image, matrix, self.geometry.size)
        else:
            image = select(self.branches, code, image, value)
        return image


def _place(source: DataNode, geometry: Geometry) -> DataNode:
    """On the device where the operators run."""
    return source.gpu() if geometry.device == "gpu" else source


def _int32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)


def _known(shapes_N2: np.ndarray | None) -> np.ndarray:
    if shapes_N2 is None:
        raise ValueError("encoded images need their shapes")
    return shapes_N2


def _parse(recipe: str) -> tuple[str, list[float]]:
    """ "noise(0.2)" -> ("noise", [0.2])."""
    match = re.fullmatch(r"\s*([a-z]+)\s*(?:\(([^()]*)\))?\s*", recipe)
    if match is None:
        raise _unknown(recipe)
    try:
        return match[1], [float(argument) for argument in match[2].split(",")] if match[2] else []
    except ValueError:
        raise _unknown(recipe) from None


def _unknown(recipe: str) -> UserError:
    return UserError(f"augmentation {recipe!r} is unknown; choose one of {', '.join(RECIPES)}")
