"""A contact sheet before it is drawn: sections of rows of small images with their captions."""

import io
import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from semisonic.data.sets.limits import USUAL, Limits, open_image
from semisonic.data.sets.manifest import rgb_image
from semisonic.records.files import open_regular

SIDE = 96
"""Of the box that an image is fitted into, in pixels."""


class Thumb(NamedTuple):
    """An image in a box of `SIDE` x `SIDE`."""

    png: bytes
    """Small, as a file; b"" where the image cannot be decoded."""
    caption: str = ""
    path: str = ""


@dataclass(frozen=True)
class Row:
    """Images that belong together, in one block or in several that stand apart."""

    name: str
    details: tuple[str, ...]
    """Short lines below the name."""
    blocks: tuple[tuple[Thumb, ...], ...]


@dataclass(frozen=True)
class Section:
    title: str
    rows: list[Row]
    headings: tuple[str, ...] = ()
    """Over the blocks of the rows; () = none."""
    slots: tuple[int, ...] = (1,)
    """Images that each of the blocks has room for."""
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    title: str
    subtitle: str
    sections: list[Section] = field(default_factory=list)


def thumbnail(path: str, limits: Limits = USUAL) -> bytes:
    """A file's image as a small PNG, as training sees its colors and its orientation; b"" where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        try:
            with open_regular(path) as file, open_image(file, limits.pixels) as opened:
                opened.draft(None, (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at an eighth of its size if that is enough
                image = rgb_image(opened)
            return _encoded(_fitted(image))
        except Exception:  # it is only a picture: what is wrong with the file is in the report
            return b""


def _fitted(image: Any) -> Any:
    """The image in the box: larger ones smoothly, smaller ones by whole pixels."""
    from PIL import Image

    width, height = image.size
    if max(width, height) > SIDE:
        scale = SIDE / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    scale = SIDE // max(width, height)
    return image.resize((width * scale, height * scale), Image.Resampling.NEAREST)


def _encoded(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
