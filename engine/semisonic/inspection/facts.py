"""What an image file is: by its first and its last bytes, which are read of all files, and by its pixels, of a sample.

No function here raises for any file; what is wrong with one is its `reason`.
"""

import hashlib
import os
import warnings
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from semisonic.data.sets.limits import USUAL, Limits, open_image, open_limited
from semisonic.data.sets.manifest import BAD, UNREADABLE, VIA_PILLOW, examine, rgb_image
from semisonic.data.sets.walk import unreadable
from semisonic.records.files import open_regular

NEARLY_EMPTY = 2.0
"""Levels of 255: an image is nearly empty where the standard deviation of its pixels is below it in every channel."""
GRAY_WITHIN = 2
"""Levels of 255 by which the channels of a pixel may differ in an image that is gray, for a JPEG rounds."""
_TAIL = 4096  # bytes; the end of a file is compressed pixels, its beginning tables that many files share
_DIGEST = 16  # bytes, as in the manifest
_PIECE = 2**20
_ORIENTATION = 0x0112  # EXIF's tag
_COLORS = {
    "1": "black and white", "L": "gray", "LA": "gray + alpha", "La": "gray + alpha", "RGB": "RGB",
    "RGBA": "RGB + alpha", "RGBa": "RGB + alpha", "P": "palette", "PA": "palette + alpha", "CMYK": "CMYK",
    "I": "32-bit integer", "F": "32-bit float",
}  # fmt: skip


class Header(NamedTuple):
    """What is known of a file without its pixels."""

    size: int = 0
    """In bytes."""
    device: int = 0
    inode: int = 0
    height: int = 0
    """In pixels, as EXIF orientation turns it; 0 where `reason` is not empty."""
    width: int = 0
    orientation: int = 0
    """EXIF's, 1 to 8; 0 where the file has none."""
    format: str = ""
    """As Pillow calls it: JPEG, PNG, ..."""
    color: str = ""
    tail: bytes = bytes(_DIGEST)
    """Digest of the last bytes: files of one size and one tail may be equal, others are not."""
    reason: str = ""
    """Why it is no image."""
    several: bool = False
    """Whether it holds more than one picture; the first is read."""


class Pixels(NamedTuple):
    """What decoding shows."""

    reason: str = ""
    """Why training could not use it, as the scan before a training says it."""
    via_pillow: bool = False
    """Whether DALI gets it as a PNG that Pillow makes, in every epoch."""
    deviation: float = 0.0
    """The largest standard deviation of a channel, in levels of 255."""
    gray: bool = False
    """Whether all pixels are gray."""

    @property
    def nearly_empty(self) -> bool:
        return not self.reason and self.deviation < NEARLY_EMPTY


def header(path: str, limits: Limits = USUAL) -> Header:
    """What a file's first and last bytes say of it."""
    found = Header()
    try:
        with open_limited(path, limits.bytes) as file:
            state = os.fstat(file.fileno())
            found = Header(state.st_size, state.st_dev, state.st_ino)
            if not state.st_size:
                return found._replace(reason="empty file")
            file.seek(max(0, state.st_size - _TAIL))
            found = found._replace(tail=hashlib.blake2b(file.read(_TAIL), digest_size=_DIGEST).digest())
            file.seek(0)
            return found._replace(**_of_image(file, limits))
    except Exception as error:
        return found._replace(reason=_reason(path, error))


def _of_image(file: BinaryIO, limits: Limits) -> dict[str, Any]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata: whether the image can be used, its pixels say
        with open_image(file, limits.pixels) as image:
            width, height = image.size
            # Not a PNG's own method, which decodes all pixels to see what comes after them.
            orientation = Image.Image.getexif(image).get(_ORIENTATION, 0)
            orientation = orientation if orientation in range(1, 9) else 0
            if orientation >= 5:
                width, height = height, width
            return {
                "height": height, "width": width, "orientation": orientation, "format": image.format or "",
                "color": color_of(image), "several": _several(image),
            }  # fmt: skip


def _several(image: Any) -> bool:
    """Whether a TIFF, GIF, WebP or PNG holds more pictures than the one that is read. The second one of a phone's JPEG
    is a preview, or how far things are away, and does not count."""
    if image.format not in ("TIFF", "GIF", "WEBP", "PNG"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # what is behind the first picture may be anything
        return False


def color_of(image: Any) -> str:
    """The colors of one of Pillow's images in words, such as `RGB + alpha` or `16-bit gray`."""
    color = "gray" if image.mode.startswith("I;16") else _COLORS.get(image.mode, image.mode)
    if "transparency" in image.info and "alpha" not in color:
        color += " + alpha"
    return f"16-bit {color}" if image.mode.startswith("I;16") or ";16" in _raw_mode(image) else color


def _raw_mode(image: Any) -> str:
    """How the file holds the pixels that Pillow reads as 8 bits, such as RGB;16B."""
    for tile in getattr(image, "tile", ()):
        given = tile[3]
        given = given[0] if isinstance(given, tuple) and given else given
        return given if isinstance(given, str) else ""
    return ""


def _reason(path: str, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return unreadable(path, error)
    return " ".join(str(error).split()) or type(error).__name__


def digest(path: str) -> bytes:
    """BLAKE2b-128 of a file's bytes, as the manifest has it; b"" where it cannot be read."""
    try:
        with open_regular(path) as file:
            content = hashlib.blake2b(digest_size=_DIGEST)
            while piece := file.read(_PIECE):
                content.update(piece)
            return content.digest()
    except OSError:
        return b""


def pixels(path: str, limits: Limits = USUAL) -> Pixels:
    """What a file's pixels are, after the judgment of the scan before a training."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = examine(path, limits=limits)
            assert found is not None  # no digest was given
            if found.status in (BAD, UNREADABLE):
                return Pixels(found.reason)
            return Pixels("", found.status == VIA_PILLOW, *_statistics(path, limits))
    except Exception as error:
        return Pixels(_reason(path, error))


def _statistics(path: str, limits: Limits) -> tuple[float, bool]:
    from PIL import ImageChops, ImageStat

    with open_limited(path, limits.bytes) as file, open_image(file, limits.pixels) as opened:
        image = rgb_image(opened)
    red, green, blue = image.split()
    apart = max(int(np.asarray(ImageChops.difference(red, other)).max()) for other in (green, blue))
    return max(ImageStat.Stat(image).stddev), apart <= GRAY_WITHIN
