"""How matplotlib draws for this project: text as it is, whatever it holds."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from semisonic.data.sets.own_pictures import SOFTWARE
from semisonic.pages.drawings import ADAPTED, DASHES, Drawing, Key, drawing_of
from semisonic.text import printable

LITERAL: Any = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
"""A name such as `$5 to $10` is no formula, whatever the user's own settings of matplotlib say."""
NAME = 32
"""Letters of a name beside an axis."""


@contextmanager
def drawing() -> Iterator[None]:
    """Around making a figure and saving it, also as a decorator: `@drawing()`.

    Letters that no font has are drawn as boxes, and names that leave no room beside a figure without a word.
    """
    import matplotlib

    with matplotlib.rc_context(LITERAL), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph .* missing from", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied", category=UserWarning)
        yield


def name_in_picture(name: object, longest: int = NAME) -> str:
    """A class's or entry's name as part of a picture: one line, and not longer than there is room for."""
    text = printable(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def saved(figure: Any, kind: str, **options: Any) -> bytes:
    """A figure as the content of a file. kind: png or svg."""
    content = io.BytesIO()
    signature = {"metadata": {"Software": SOFTWARE}} if kind == "png" else {}
    figure.savefig(content, format=kind, **signature, **options)
    return content.getvalue()


def inline(figure: Any, alt: str, legend: bool = False, captioned: bool = False) -> Drawing:
    """A figure inside of a page, in whose colors and letters it is shown; the same figure is the same text.

    Draw it with at least 10 points of text, black for what is to have the page's color of text, and the colors of
    `pages.drawings.SERIES`. legend: whether the labeled lines of its axes are named above it, where names have room
    and are not cut. captioned: whether `alt` stands above it as its title, which wraps where the page is narrow.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "semisonic", "svg.fonttype": "none"}):
        content = saved(figure, "svg", metadata={"Date": None}, transparent=True)
    return drawing_of(content, alt, keys_of(figure) if legend else (), captioned)


def keys_of(figure: Any) -> list[Key]:
    """The legend of the lines of a figure, each name once."""
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D

    found: dict[str, Key] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            line = handle if isinstance(handle, Line2D) else handle[0]  # of error bars, the line between them
            color = to_hex(line.get_color())
            found.setdefault(name, Key(name, ADAPTED.get(color, color), DASHES.get(str(line.get_linestyle()), "none")))
    return list(found.values())
