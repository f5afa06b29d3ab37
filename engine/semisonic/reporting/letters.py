"""Text in pictures that Pillow draws."""

import textwrap
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@lru_cache(maxsize=8)
def font(size: int, bold: bool = False) -> Any:
    """DejaVu, which matplotlib brings and which has the letters of most scripts written left to right."""
    from PIL import ImageFont

    package = find_spec("matplotlib")  # to import it would write its caches into the user's home
    assert package is not None and package.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


def cut(text: str, size: int, width: int, bold: bool = False) -> str:
    """The text as far as it fits into a width, in pixels."""
    letters = font(size, bold)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines that fit into a width, in pixels, broken between words; a word that does not fit is cut."""
    letters, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) <= width:
            lines[-1] = longer
        elif lines[-1]:
            lines.append(cut(word, size, width))
        else:
            lines[-1] = cut(word, size, width)
    return lines


def broken(text: str, size: int, width: int) -> list[str]:
    """Lines that fit into a width with nothing cut: words that are too long are broken, too."""
    for letters in range(max(len(text), 1), 0, -1):
        lines = textwrap.wrap(text, letters, break_on_hyphens=False)
        if all(font(size).getlength(line) <= width for line in lines):
            return lines
    return list(text)
