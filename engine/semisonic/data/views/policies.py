"""The operations that RandAugment and its descendants draw from, and their draws, in numpy.

Shape suffixes: N samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


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
    """A square hole whose center is uniform over the pixels, clipped at the border (arXiv 1708.04552)."""

    share: float = 0.5
    """The side is uniform in 0..share of the width, rounded to whole pixels."""
    pixels: int | None = None
    """Or a fixed side, in pixels."""
    fill: tuple[int, int, int] | None = None
    """Its color; None means the data set's mean."""

    def of(self, numbers: Sequence[float]) -> "Cutout | None":
        """With these in place of its own: the side, as a share below 1 or in whole pixels, then a gray value or red,
        green and blue. What is not given stays. None: a side of 0, no hole. Raises ValueError for others."""
        if not numbers:
            return self
        side, color = float(numbers[0]), [int(level) for level in numbers[1:] if level in range(256)]
        right = 0 <= side < 1 or (side >= 1 and side.is_integer())
        if not right or len(color) != len(numbers) - 1 or len(color) not in (0, 1, 3):
            raise ValueError(
                "write Cutout's side, as a share of the width below 1 (up to which it is drawn) or in whole pixels, "
                "then its color, one gray value or three of 0 to 255, e.g. 0.5,127 or 16,125,123,114"
            )
        if side == 0:
            return None
        fill = (color[0], color[-2 % len(color)], color[-1]) if color else self.fill
        return Cutout(share=side if side < 1 else 0.5, pixels=None if side < 1 else int(side), fill=fill)


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
    fixed: float | None = None
    """Or one strength for all."""
    probability: float = 1.0
    """With which a drawn operation is applied."""
    whole_pixels: bool = False
    """Whether translations are cut to whole pixels."""
    cutout: Cutout | None = None
    """Hole after all operations."""
    hole_fill: tuple[int, int, int] | None = None
    """Color of the operation "cutout"; None means the data set's mean."""

    def strengths(self, uniform_N: np.ndarray) -> np.ndarray:
        """Those of N operations, float64 [N]."""
        return self.strength(uniform_N) if self.fixed is None else np.full(len(uniform_N), self.fixed)

    @cached_property
    def table(self) -> dict[str, np.ndarray]:
        """Each field of the operations' ranges, one entry per operation."""
        ranges = [magnitudes or Range(0, 0) for magnitudes in self.operations.values()]
        whole = np.array([r.whole for r in ranges])
        fields = {name: np.array([getattr(r, name) for r in ranges]) for name in ("low", "high", "base", "signed")}
        return fields | {"truncated": whole == "truncated", "steps": whole == "steps"}


ENHANCE = ("brightness", "color", "contrast", "sharpness")


def _operations(**ranges: Range) -> dict[str, Range | None]:
    """The 14 operations; `enhance`, `shear` and `translate` are the ranges of several."""
    enhance, shear, translate = ranges["enhance"], ranges["shear"], ranges["translate"]
    return {
        "identity": None,
        "auto_contrast": None,
        "equalize": None,
        **dict.fromkeys(ENHANCE, enhance),
        "posterize": ranges["posterize"],
        "solarize": ranges["solarize"],
        "rotate": ranges["rotate"],
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": translate,
        "translate_y": translate,
    }


FIXMATCH_OPERATIONS = _operations(
    enhance=Range(0.05, 0.95),
    posterize=Range(4, 8, whole="steps"),
    solarize=Range(0, 256),
    rotate=Range(0, 30, signed=True),
    shear=Range(0, 0.3, signed=True),
    translate=Range(0, 0.3, signed=True),
)
"""Table 12 of FixMatch, arXiv 2001.07685."""

KEKMODEL_OPERATIONS = FIXMATCH_OPERATIONS | {
    "posterize": Range(4, 8, whole="truncated"),
    "solarize": Range(256, 0),
}

_FACTOR = Range(0, 1.8, base=0.1)
RANDAUGMENT_OPERATIONS = _operations(
    enhance=_FACTOR,
    posterize=Range(8, 4, whole="truncated"),
    solarize=Range(256, 0),
    rotate=Range(0, 30, signed=True),
    shear=Range(0, 0.3, signed=True),
    translate=Range(0, 10 / 32, signed=True),
)

SIGNED_OPERATIONS = RANDAUGMENT_OPERATIONS | dict.fromkeys(ENHANCE, Range(0, 0.9, signed=True, base=1))

MPL_OPERATIONS = {name: magnitudes for name, magnitudes in RANDAUGMENT_OPERATIONS.items() if name != "identity"} | {
    "posterize": Range(0, 4, whole="truncated"),
    "solarize": Range(256, 0, whole="truncated"),
    "translate_x": Range(0, 4 / 32, signed=True),
    "translate_y": Range(0, 4 / 32, signed=True),
    "invert": None,
    "cutout": Range(0, 4 / 32),
}

AUGMIX_OPERATIONS: dict[str, Range | None] = {
    "auto_contrast": None,
    "equalize": None,
    "posterize": Range(4, 0, whole="truncated"),
    "rotate": Range(0, 30, signed=True, whole="truncated"),
    "solarize": Range(256, 0, whole="truncated"),
    "shear_x": Range(0, 0.3, signed=True),
    "shear_y": Range(0, 0.3, signed=True),
    "translate_x": Range(0, 1 / 3, signed=True),
    "translate_y": Range(0, 1 / 3, signed=True),
}
"""Those of AugMix, arXiv 1912.02781, at tenths of their range: none that the corruptions of its benchmark use."""


POLICIES = {
    "fixmatch": Policy(FIXMATCH_OPERATIONS, levels=2, cutout=Cutout()),
    "usb": Policy(FIXMATCH_OPERATIONS, levels=3, cutout=Cutout(fill=(125, 123, 114))),
    "kekmodel": Policy(
        KEKMODEL_OPERATIONS,
        levels=2,
        strength=_nine_strengths,
        probability=0.5,
        whole_pixels=True,
        cutout=Cutout(pixels=16, fill=(127, 127, 127)),
    ),
    "mpl": Policy(MPL_OPERATIONS, levels=2, fixed=1.6, probability=0.5, hole_fill=(127, 127, 127)),
}
"""Rows of configuration of `RandAugment`.

fixmatch: magnitudes uniform, always applied, Cutout of up to half the width (table 12 of arXiv 2001.07685). The paper
fills it with gray, 0.5,127; here it has the data set's mean. The authors' code has holes of 16 pixels, 16,127.
usb: the same with three operations and a fixed color, as TorchSSL and the USB benchmark do.
kekmodel: after the widely used PyTorch port of FixMatch of that name. Strength v/10 with v in 1..9, so
factors 0.14..0.86, ±3..27 degrees, translations in whole pixels; p = 0.5 for each operation. Its Cutout is
exactly 16 pixels whatever the image size, clipped alike on all sides, where the port clamps at the left and top.
mpl: after the PyTorch port of Meta Pseudo Labels of the same author. 15 operations, with inversion, without the
identity, and with gray Cutout among them, 2 drawn with p = 0.5 each, all at magnitude 16 of 10: factor 2.98, 6 bits,
threshold 0, ±48 degrees, shear ±0.48, translation ±6.4 and a hole of 6 pixels at a width of 32.
"""


def randaugment_policy(numbers: Sequence[float], signed: bool = False) -> Policy:
    """RandAugment, arXiv 1909.13719: N operations, all at one magnitude M of 0..30, always applied; then maybe Cutout.

    M = 10 is AutoAugment's maximum and everything is linear in M: factor 0.1 + 0.18 M as in the authors' code, 1 (no
    change) at M = 5; 8 - 0.4 M bits, threshold 256 - 25.6 M, +-3 M degrees, shear +-0.03 M, translation +-M/32 of the
    width. Beyond 10 bits stop at 1 and thresholds at 0. signed: factor 1 +- 0.09 M, from 0 on.
    Raises ValueError where the numbers are not N, M and what `Cutout.of` takes.
    """
    if len(numbers) < 2 or numbers[0] not in range(1, 15) or not 0 <= numbers[1] <= 30:
        raise ValueError("write randaugment(N,M) with an integer N in 1..14 and M in 0..30, e.g. randaugment(2,9)")
    cutout = Cutout().of(numbers[2:]) if len(numbers) > 2 else None
    operations = SIGNED_OPERATIONS if signed else RANDAUGMENT_OPERATIONS
    return Policy(operations, levels=int(numbers[0]), fixed=numbers[1] / 10, cutout=cutout)


def draw_operations(policy: Policy, uniforms_N4: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One level's draws: index into the policy's operations (-1: none) and magnitude, [N] each.

    Units: factor (1 = unchanged), bits, threshold 0..256, degrees, shear, translation as share of the width.
    """
    operation_N = np.floor(uniforms_N4[:, 0] * len(policy.operations)).astype(np.int64)
    low_N, high_N, base_N, signed_N, truncated_N, steps_N = (column[operation_N] for column in policy.table.values())
    strength_N = policy.strengths(uniforms_N4[:, 1])
    spread_N = strength_N * (high_N - low_N)
    spread_N = np.where(truncated_N, np.trunc(spread_N), spread_N)
    spread_N = np.where(steps_N, np.floor(strength_N * (high_N - low_N + 1)), spread_N)
    sign_N = np.where(signed_N & (uniforms_N4[:, 2] < 0.5), -1, 1)
    applied_N = uniforms_N4[:, 3] < policy.probability
    return np.where(applied_N, operation_N, -1), base_N + sign_N * (low_N + spread_N)


def draw_hole(cutout: Cutout, uniforms_N4: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 pixel (y, x) of the holes, [N, 2] each: center - side // 2 and side on, clipped."""
    side_N1 = np.floor(cutout.share * size * uniforms_N4[:, :1] + 0.5)
    if cutout.pixels is not None:
        side_N1 = np.full_like(side_N1, cutout.pixels)
    return clipped_hole(side_N1, uniforms_N4[:, 1:3], size)


def clipped_hole(side_N1: np.ndarray, centers_N2: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`draw_hole` for given sides, and centers as uniforms."""
    start_N2 = np.floor(centers_N2 * size) - side_N1 // 2
    return np.clip(start_N2, 0, size), np.clip(start_N2 + side_N1, 0, size)
