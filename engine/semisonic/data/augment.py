"""The views of an image: crops, RandAugment pools and Cutout as DALI operators with host-drawn parameters.

A view has two halves. `params` turns uniforms into the parameters of a whole batch, in numpy, on the host;
`graph` builds the DALI operators that apply them, on the CPU or the GPU. DALI itself draws nothing, so a
sample looks the same whatever the batch size, thread count or number of processes.

Shape suffixes: N samples, K uniforms of one sample.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from nvidia.dali import fn
from nvidia.dali import math as dali_math
from nvidia.dali.auto_aug.core import select
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import Constant, DALIDataType, DALIImageType, DALIInterpType
from PIL import Image, ImageOps

from semisonic.schema import UserError

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
        `params` holds one CPU batch for every array of `params`.
        """


def build_view(recipe: str, geometry: Geometry, equalize: str = "dali") -> View:
    """The view that a recipe of `RECIPES` names, e.g. "fixmatch" or "randaugment(2,9)".

    `equalize` chooses between DALI's histogram equalisation (OpenCV's formula, both devices) and Pillow's
    ("pil", CPU only), whose integer steps saturate up to a quarter of the pixels of a small image. UserError
    for an unknown recipe, arguments out of range, or Pillow's formula on a GPU.
    """
    if equalize not in ("dali", "pil"):
        raise UserError(f"data.equalize: {equalize!r} is not valid; choose 'dali' or 'pil'")
    if equalize == "pil" and geometry.device == "gpu":
        raise UserError("data.equalize: 'pil' runs on the CPU only; choose 'dali', or a CPU pipeline")
    name, arguments = _parse(recipe)
    if name == "plain" and not arguments:
        return Plain(geometry)
    if name == "whole" and not arguments:
        return Plain(geometry, whole=True)
    if name == "weak" and not arguments:
        return Weak(geometry)
    if name in POLICIES and not arguments:
        return RandAugment(geometry, POLICIES[name], equalize)
    if name == "randaugment":
        return RandAugment(geometry, randaugment_policy(recipe, arguments), equalize)
    if name == "noise" and len(arguments) <= 1:
        noise_std = arguments[0] if arguments else 0.15
        if noise_std < 0:
            raise UserError(f"augmentation {recipe!r}: the standard deviation must be at least 0")
        return Weak(geometry, noise_std)
    raise _unknown(recipe)


def single_operation(name: str, magnitude: float, geometry: Geometry, equalize: str = "dali") -> View:
    """A view that is the crop of `weak` and then exactly one operation of `OPERATIONS` at `magnitude`."""
    policy = Policy({name: Range(magnitude, magnitude)}, levels=1)
    return RandAugment(geometry, policy, equalize)


# --- windows: plain and weak ------------------------------------------------------------------------------


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
        return _warp(_place(source, self.geometry), params["window"], size)


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


# --- pools ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Magnitudes of an operation: base + sign * (low + strength * (high - low)), strength mostly in 0..1."""

    low: float
    high: float
    signed: bool = False
    """Whether the sign is drawn (p = 0.5 each) or always +."""
    base: float = 0.0
    whole: str = ""
    """Whole numbers: "steps" low..high, all equally likely; "truncated": the fraction is cut off."""


@dataclass(frozen=True)
class Cutout:
    """A square hole whose centre is uniform over the pixels, clipped at the border (arXiv 1708.04552)."""

    share: float = 0.5
    """The side is uniform in 0..share of the width, rounded to whole pixels."""
    pixels: int | None = None
    """Or a fixed side, in pixels."""
    fill: tuple[int, int, int] | None = None
    """Its colour; None means the data set's mean."""


def _any_strength(uniform_N: np.ndarray) -> np.ndarray:
    return uniform_N


def _nine_strengths(uniform_N: np.ndarray) -> np.ndarray:
    return (1 + np.floor(9 * uniform_N)) / 10


@dataclass(frozen=True)
class Policy:
    """What RandAugment draws from. Every level draws one of `operations` uniformly, with replacement."""

    operations: Mapping[str, Range | None]
    """Names of `OPERATIONS` with their magnitudes; None for an operation without one."""
    levels: int
    strength: Callable[[np.ndarray], np.ndarray] = _any_strength
    """U[0, 1) of shape [N] -> strengths [N] for the ranges."""
    probability: float = 1.0
    """With which a drawn operation is applied."""
    whole_pixels: bool = False
    """Whether translations are cut to whole pixels."""
    cutout: Cutout | None = None


def _pool(**ranges: Range) -> dict[str, Range | None]:
    """The 14 operations; `enhance`, `shear` and `translate` are the ranges of several."""
    enhance, shear, translate = ranges["enhance"], ranges["shear"], ranges["translate"]
    return {
        "identity": None,
        "auto_contrast": None,
        "equalize": None,
        "brightness": enhance,
        "color": enhance,
        "contrast": enhance,
        "sharpness": enhance,
        "posterize": ranges["posterize"],
        "solarize": ranges["solarize"],
        "rotate": ranges["rotate"],
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": translate,
        "translate_y": translate,
    }


FIXMATCH_POOL = _pool(
    enhance=Range(0.05, 0.95),
    posterize=Range(4, 8, whole="steps"),
    solarize=Range(0, 256),
    rotate=Range(0, 30, signed=True),
    shear=Range(0, 0.3, signed=True),
    translate=Range(0, 0.3, signed=True),
)
"""Table 12 of FixMatch, arXiv 2001.07685."""

KEKMODEL_POOL = FIXMATCH_POOL | {
    "posterize": Range(4, 8, whole="truncated"),
    "solarize": Range(256, 0),
}

RANDAUGMENT_POOL = _pool(
    enhance=Range(0, 0.9, signed=True, base=1),
    posterize=Range(8, 4, whole="truncated"),
    solarize=Range(256, 0),
    rotate=Range(0, 30, signed=True),
    shear=Range(0, 0.3, signed=True),
    translate=Range(0, 10 / 32, signed=True),
)

POLICIES = {
    "fixmatch": Policy(FIXMATCH_POOL, levels=2, cutout=Cutout()),
    "usb": Policy(FIXMATCH_POOL, levels=3, cutout=Cutout(fill=(125, 123, 114))),
    "kekmodel": Policy(
        KEKMODEL_POOL,
        levels=2,
        strength=_nine_strengths,
        probability=0.5,
        whole_pixels=True,
        cutout=Cutout(pixels=16, fill=(127, 127, 127)),
    ),
}
"""Rows of configuration of `RandAugment`.

fixmatch: magnitudes uniform, always applied, mean-coloured Cutout (arXiv 2001.07685).
usb: the same with three operations and a fixed colour, as the USB benchmark does.
kekmodel: after the widely used PyTorch port of FixMatch of that name. Strength v/10 with v in 1..9, so
factors 0.14..0.86, ±3..27 degrees, translations in whole pixels; p = 0.5 for each operation. Its Cutout is
exactly 16 pixels whatever the image size, clipped alike on all sides, where the port clamps at the left and top.
"""


def randaugment_policy(recipe: str, arguments: list[float]) -> Policy:
    """RandAugment, arXiv 1909.13719: N operations, all at one magnitude M of 0..30, always applied.

    M = 10 is AutoAugment's maximum and everything is linear in M: factor 1 ± 0.9, 4 fewer bits, threshold 0,
    ±30 degrees, shear ±0.3, translation ±10/32 of the width. Beyond 10 factors stop at 0, bits at 1 and
    thresholds at 0. At M = 0 all operations but AutoContrast and Equalize are the identity.
    """
    if len(arguments) != 2 or arguments[0] not in range(1, 15) or not 0 <= arguments[1] <= 30:
        raise UserError(
            f"augmentation {recipe!r}: write randaugment(N,M) with an integer N in 1..14 and M in 0..30,"
            " e.g. randaugment(2,9)"
        )
    levels, magnitude = int(arguments[0]), arguments[1]
    return Policy(RANDAUGMENT_POOL, levels=levels, strength=partial(_same_strength, magnitude / 10))


def _same_strength(strength: float, uniform_N: np.ndarray) -> np.ndarray:
    return np.full(len(uniform_N), strength)


class RandAugment(View):
    """`weak`, then a policy's operations, then its Cutout (arXiv 1909.13719 and its descendants)."""

    def __init__(self, geometry: Geometry, policy: Policy, equalize: str = "dali"):
        self.geometry = geometry
        self.policy = policy
        self.weak = Weak(geometry)
        self.uniforms = self.weak.uniforms + 4 * policy.levels + 4 * (policy.cutout is not None)
        pool = list(policy.operations)
        # Every geometric operation is one warp, marked by -1; the others are numbered by their branch.
        others = [name for name in pool if name not in _MATRICES]
        self.branches: list = [_branch(name, geometry, equalize) for name in others]
        self._code_O = np.array([-1 if name in _MATRICES else others.index(name) for name in pool], np.int32)
        self.always_a_branch = policy.probability == 1 and bool((self._code_O >= 0).all())

    def params(self, uniforms_NK: np.ndarray, shapes_N2: np.ndarray | None) -> dict[str, np.ndarray]:
        first = self.weak.uniforms
        params = self.weak.params(uniforms_NK[:, :first], shapes_N2)
        for level in range(self.policy.levels):
            block_N4 = uniforms_NK[:, first + 4 * level : first + 4 * level + 4]
            operation_N, magnitude_N = draw_operations(self.policy, block_N4)
            code_N, value_N, matrix_N23 = self._encode(operation_N, magnitude_N)
            params |= {f"code{level}": code_N, f"value{level}": value_N, f"matrix{level}": matrix_N23}
        if self.policy.cutout is not None:
            start_N2, stop_N2 = draw_hole(self.policy.cutout, uniforms_NK[:, -4:], self.geometry.size)
            params["hole_start"] = start_N2.astype(np.float32)
            params["hole_shape"] = (stop_N2 - start_N2).astype(np.float32)
        return params

    def _encode(self, operation_N: np.ndarray, magnitude_N: np.ndarray) -> tuple[np.ndarray, ...]:
        """Operations (-1: none) and magnitudes -> branch [N], its argument [N], warp [N, 2, 3]."""
        pool = list(self.policy.operations)
        code_N = np.where(operation_N < 0, -1, self._code_O[operation_N]).astype(np.int32)
        value_N = magnitude_N.copy()
        matrix_N23 = np.tile(np.eye(2, 3), (len(operation_N), 1, 1))
        for index, name in enumerate(pool):
            chosen = np.flatnonzero(operation_N == index)
            if name in _VALUES:
                value_N[chosen] = _VALUES[name](magnitude_N[chosen])
            elif name in _MATRICES:
                magnitude_C, size = magnitude_N[chosen], self.geometry.size
                if name.startswith("translate"):
                    magnitude_C = magnitude_C * size
                    magnitude_C = np.trunc(magnitude_C) if self.policy.whole_pixels else magnitude_C
                _MATRICES[name](matrix_N23, chosen, magnitude_C, size)
        return code_N, value_N.astype(np.float32), matrix_N23.astype(np.float32)

    def graph(self, source: DataNode, params: Mapping[str, DataNode]) -> DataNode:
        image = self.weak.graph(source, params)
        for level in range(self.policy.levels):
            code, value, matrix = (params[f"{name}{level}"] for name in ("code", "value", "matrix"))
            image = self._level(image, code, value, matrix)
        if self.policy.cutout is not None:
            fill = [float(channel) for channel in self.policy.cutout.fill or self.geometry.fill]
            anchor, shape = params["hole_start"], params["hole_shape"]
            image = fn.erase(image, anchor=anchor, shape=shape, axis_names="HW", fill_value=fill)
        return image

    def _level(self, image: DataNode, code: DataNode, value: DataNode, matrix: DataNode) -> DataNode:
        """A warp where code is -1, else branches[code](image, value). Conditionals split the batch.

        The cost is operators times samples, not pixels: the frequent warp comes first, the others by halving.
        """
        if not self.branches:
            return _warp(image, matrix, self.geometry.size)
        if self.always_a_branch:
            return select(self.branches, code, image, value)
        if code < 0:
            image = _warp(image, matrix, self.geometry.size)
        else:
            image = select(self.branches, code, image, value)
        return image


def draw_operations(policy: Policy, uniforms_N4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One level's draws: index into the policy's operations (-1: none) and magnitude, [N] each.

    Units: factor (1 = unchanged), bits, threshold 0..256, degrees, shear, translation as share of the width.
    """
    ranges = [magnitudes or Range(0, 0) for magnitudes in policy.operations.values()]
    operation_N = np.floor(uniforms_N4[:, 0] * len(ranges)).astype(np.int64)
    low_N, high_N, base_N, signed_N = (
        np.array([getattr(r, name) for r in ranges])[operation_N] for name in ("low", "high", "base", "signed")
    )
    whole_N = np.array([r.whole for r in ranges])[operation_N]
    strength_N = policy.strength(uniforms_N4[:, 1])
    spread_N = strength_N * (high_N - low_N)
    spread_N = np.where(whole_N == "truncated", np.trunc(spread_N), spread_N)
    spread_N = np.where(whole_N == "steps", np.floor(strength_N * (high_N - low_N + 1)), spread_N)
    sign_N = np.where(signed_N & (uniforms_N4[:, 2] < 0.5), -1, 1)
    applied_N = uniforms_N4[:, 3] < policy.probability
    return np.where(applied_N, operation_N, -1), base_N + sign_N * (low_N + spread_N)


def draw_hole(cutout: Cutout, uniforms_N4: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 pixel (y, x) of the holes, [N, 2] each: centre - side // 2 and side on, clipped."""
    side_N1 = np.floor(cutout.share * size * uniforms_N4[:, :1] + 0.5)
    if cutout.pixels is not None:
        side_N1 = np.full_like(side_N1, cutout.pixels)
    start_N2 = np.floor(uniforms_N4[:, 1:3] * size) - side_N1 // 2
    return np.clip(start_N2, 0, size), np.clip(start_N2 + side_N1, 0, size)


# --- operations: what Pillow does, in DALI ----------------------------------------------------------------
# Pillow truncates where DALI's casts round, hence the floors; casts to uint8 saturate, so nothing is clamped.


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


_MATRICES = {
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


_VALUES = {
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


def _warp(image: DataNode, matrix: DataNode, size: int) -> DataNode:
    return fn.warp_affine(
        image,
        matrix=matrix,
        size=[size, size],
        interp_type=DALIInterpType.INTERP_NN,
        fill_value=0,
        inverse_map=True,
    )


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

    def __init__(self, geometry: Geometry):
        self.device = geometry.device
        self.border = np.full((geometry.size, geometry.size, 3), 255, np.uint8)
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
}

OPERATIONS = [*_MATRICES, *_BRANCHES, "sharpness"]
"""Names of all operations."""


def _branch(name: str, geometry: Geometry, equalize: str) -> Callable[[DataNode, DataNode], DataNode]:
    if name == "sharpness":
        return _Sharpness(geometry)
    return _equalize_pil if name == "equalize" and equalize == "pil" else _BRANCHES[name]


# --- small helpers ----------------------------------------------------------------------------------------


def _place(source: DataNode, geometry: Geometry) -> DataNode:
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
