"""Charts that a template draws: where values lie on a canvas, and the numbers at its edges. Colors and text are the
page's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Canvas:
    """In about as many pixels of the page, so that text keeps its size. Values lie from `left` to `right` and from
    `bottom` to `top`."""

    width: float
    height: float
    right: float
    bottom: float
    left: float = 46.0
    top: float = 10.0

    def x(self, part: float, whole: float) -> float:
        return self.left + (self.right - self.left) * part / whole

    def y(self, value: float, low: float, high: float) -> float:
        """Of a scale from `low` to `high`; what is beyond its ends lies at them."""
        return self.bottom - (self.bottom - self.top) * min(max(value - low, 0.0), high - low) / (high - low)


@dataclass
class Tick:
    """A number at an edge."""

    at: float
    text: str


def short(value: float) -> str:
    """A tick's text: 20k, 0.25, 1e-05."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
