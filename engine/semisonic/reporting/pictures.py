"""How matplotlib draws for this project: text as it is, whatever it holds."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from semisonic.data.sets.own_pictures import SOFTWARE
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
