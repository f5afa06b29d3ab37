"""Images inside of the page: what the network gets wrong, and labels that it found hard to learn."""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from semisonic.data.sets.base import ImageFiles, Images
from semisonic.data.sets.limits import ANY, open_image
from semisonic.data.sets.manifest import rgb_image
from semisonic.pages.pictures import data_uri
from semisonic.run_page.facts import Facts, Seen
from semisonic.text import name_of

SIDE = 112
"""Of the box that a larger image is fitted into, in pixels."""
QUALITY = 82
"""Of WebP, for images from files."""
PIXELATED = 64
"""Images of at most so many pixels a side are enlarged by whole pixels: of such small ones every pixel counts."""


@dataclass(frozen=True)
class Shown:
    """An image of the page."""

    uri: str | None
    """Its address inside of the page; None where it cannot be read any more."""
    name: str
    """Its file, or its place among the images."""
    true: str
    predicted: str
    confidence: float
    small: bool
    """Whether it is enlarged by whole pixels."""


def mistakes_of(facts: Facts, seen: Seen) -> list[Shown]:
    """What the network gets wrong, the surest first."""
    if seen.data is None or seen.which is None:
        return []
    images: Images | ImageFiles | None = seen.data.test if seen.which == "test" else seen.data.train
    if images is None or (seen.which == "held_out" and facts.split is None):
        return []
    names = [name_of(name) for name in facts.classes]
    found = []
    for mistake in seen.mistakes:
        row = mistake.place
        if seen.which == "held_out":
            assert facts.split is not None
            row = int(facts.split.held_out[mistake.place])
        uri, small = picture(images, row)
        found.append(Shown(
            uri, name_at(images, row), names[mistake.true], names[mistake.predicted], mistake.confidence, small
        ))  # fmt: skip
    return found


def name_at(images: Images | ImageFiles, row: int) -> str:
    """What people find an image by."""
    return name_of(images.paths[row]) if isinstance(images, ImageFiles) else f"image {row:,}"


def picture(images: Images | ImageFiles, row: int) -> tuple[str | None, bool]:
    """The address of an image inside of the page, and whether it is to be enlarged by whole pixels."""
    from PIL import Image

    if isinstance(images, Images):
        image, kind = Image.fromarray(np.ascontiguousarray(images.pixels[row])), "png"
    else:
        kind = "webp"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            try:
                with open_image(io.BytesIO(images.read(row).tobytes()), ANY.pixels) as opened:
                    opened.draft(None, (2 * SIDE, 2 * SIDE))  # a JPEG is decoded smaller where that is enough
                    image = rgb_image(opened)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return None, False  # the page says that it cannot be shown
    small = max(image.size) <= PIXELATED
    return data_uri(_encoded(_fitted(image), "png" if small else kind), "png" if small else kind), small


def _fitted(image: Any) -> Any:
    from PIL import Image

    scale = SIDE / max(image.size)
    if scale >= 1:
        return image
    width, height = image.size
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Any, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **({"quality": QUALITY} if kind == "webp" else {}))
    return content.getvalue()
