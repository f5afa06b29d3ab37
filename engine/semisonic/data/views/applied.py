"""What a view does to an image, in words: for captions of pictures.

The numbers are those that the view's own draws give, not drawn again.
"""

from typing import NamedTuple

import numpy as np

FORMS = {
    "crop": "{:.0%} of the area",
    "shift": "{:.0f} px",
    **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), "× {:.2f}"),
    "posterize": "to {:.0f} bits",
    "solarize": "from {:.0f}",
    "rotate": "{:+.0f}°",
    "shear_x": "{:+.2f}",
    "shear_y": "{:+.2f}",
    "translate_x": "{:+.0%}",
    "translate_y": "{:+.0%}",
    "cutout": "{:.0f} px",
    "hue": "{:+.0%} of a turn",
    "noise": "σ {:.2f}",
}
"""How a strength is written, by the name of what has it: factors (1 = unchanged), bits, thresholds of 0 to 256,
degrees, shears, shares of the width, pixels."""
LEVEL = "level {:.2f}"
"""How one is written that is a place between the least and the greatest, 0 to 1."""


class Applied(NamedTuple):
    """One thing that is done to an image."""

    name: str
    strength: float | None = None
    form: str | None = None
    """How the strength is written; None: as `FORMS` says."""

    @property
    def text(self) -> str:
        name = self.name.replace("_", " ")
        form = self.form if self.form is not None else FORMS.get(self.name)
        return name if self.strength is None or form is None else f"{name} {form.format(self.strength)}"


def of_window(params: dict[str, np.ndarray], pad: int, size: int) -> list[list[Applied]]:
    """Shift and flip of `weak` on resident images, from the matrices [N, 2, 3] that DALI warps by."""
    found = []
    for window in params["window"]:
        flipped = window[0, 0] < 0
        right, down = window[0, 2] - (size if flipped else 0) - pad, window[1, 2] - pad
        found.append(_flip([Applied("shift", abs(float(move)), form) for move, form in (
            (right, "{:.0f} px left" if right > 0 else "{:.0f} px right"),
            (down, "{:.0f} px up" if down > 0 else "{:.0f} px down"),
        ) if move], bool(flipped)))  # fmt: skip
    return found


def of_crop(params: dict[str, np.ndarray], areas_N: np.ndarray) -> list[list[Applied]]:
    """A resized crop as a share of the image, and its flip, from the parameters `shape` [N, 2] and `mirror` [N]."""
    shares_N = params["shape"].prod(axis=1, dtype=np.float64) / areas_N
    pairs = zip(shares_N.tolist(), params["mirror"].tolist(), strict=True)
    return [_flip([Applied("crop", share)], bool(mirror)) for share, mirror in pairs]


def of_holes(holes_N4: np.ndarray) -> list[list[Applied]]:
    """Cutout's holes, first and last + 1 (y, x): their longer sides as far as they lie inside of the image."""
    sides_N = np.maximum(holes_N4[:, 2] - holes_N4[:, 0], holes_N4[:, 3] - holes_N4[:, 1])
    return [[Applied("cutout", float(side))] if side > 0 else [] for side in sides_N]


def _flip(before: list[Applied], flipped: bool) -> list[Applied]:
    return [*before, Applied("flip")] if flipped else before
