"""Pictures of a project's images: thumbnails, made once and kept by the images' content, and whole images as a browser
shows them.

A picture is made of bytes whose hash is the image's, and of no others: where a file was exchanged for another, is
damaged or gone, there is `NoPicture` with a line that says so.
"""

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from semisonic.checkpoint.atomic_files import replace, stage
from semisonic.data.sets.limits import USUAL, Limits, open_image, read_regular
from semisonic.data.sets.manifest import rgb_image
from semisonic.text import name_of

SIDE = 160
"""Of the box that a thumbnail fits into, in pixels."""
WHOLE = 2048
"""The same of a whole image."""
_EXACT = 64
"""Thumbnails of at most so many pixels a side are kept without loss: of such small images every pixel counts."""
_DECODED_AT_ONCE = 2
_LOCKS = 64


class NoPicture(Exception):
    """Why an image cannot be shown, in one line."""


class Place(NamedTuple):
    """Where an image lies, and what its file was when its hash was taken."""

    path: Path
    bytes: int
    mtime_ns: int


class Source(NamedTuple):
    """An image: its content's hash (BLAKE2b), and where it lies, the newest place first."""

    hash: bytes
    places: Sequence[Place]


class Picture(NamedTuple):
    content: bytes
    kind: str
    """Its media type."""


class Thumbnails:
    """The pictures of one project; for any number of threads."""

    def __init__(self, folder: Path, limits: Limits = USUAL) -> None:
        """folder: of the thumbnails, `HH/HASH.webp`."""
        self.folder = folder
        self.limits = limits
        self._making = [threading.Lock() for _ in range(_LOCKS)]
        self._decoding = threading.BoundedSemaphore(_DECODED_AT_ONCE)  # a large image may take half a gigabyte

    def file(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / f"{name}.webp"

    def thumbnail(self, source: Source) -> Picture:
        """The thumbnail, made where there is none. Raises `NoPicture`."""
        file = self.file(source.hash)
        if any(_unchanged(place) for place in source.places) and (kept := _kept(file)):
            return Picture(kept, "image/webp")
        data = self._read(source)
        with self._making[source.hash[0] % _LOCKS]:
            if (content := _kept(file)) is None:
                content = self._draw(data, SIDE, _webp)
                self._keep(file, content)
        return Picture(content, "image/webp")

    def has(self, digest: bytes) -> bool:
        return self.file(digest).exists()

    def whole(self, source: Source) -> Picture:
        """The whole image, of at most `WHOLE` pixels a side. Raises `NoPicture`."""
        content = self._draw(self._read(source), WHOLE, _exact_or_jpeg)
        return Picture(content, "image/png" if content.startswith(b"\x89PNG") else "image/jpeg")

    def _read(self, source: Source) -> bytes:
        """The bytes of an image, which are those that were added: what their hash says."""
        if not source.places:
            raise NoPicture("the project knows no file of this image")
        problems = []
        for place in source.places:
            try:
                data = read_regular(place.path, self.limits.bytes)
            except OSError as error:
                problems.append(f"{name_of(place.path)}: {error.strerror or error}")
                continue
            if hashlib.blake2b(data, digest_size=len(source.hash)).digest() == source.hash:
                return data
            problems.append(f"{name_of(place.path)} has changed since it was added")
        raise NoPicture(problems[0])

    def _draw(self, data: bytes, side: int, encode: Any) -> bytes:
        with self._decoding, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            try:
                with open_image(io.BytesIO(data), self.limits.pixels) as opened:
                    opened.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at an eighth if that is enough
                    image = rgb_image(opened)
                return encode(_fitted(image, side))
            except MemoryError:
                raise NoPicture("memory is too small for this image") from None
            except Exception as error:  # Pillow raises a dozen types, all meaning that the file is damaged
                reason = getattr(error, "strerror", None) or error
                raise NoPicture(f"cannot be decoded: {name_of(reason)}") from error

    def _keep(self, file: Path, content: bytes) -> None:
        """Another server of the project may be making the same: each has a name of its own until it is whole."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace(stage(file.with_name(f"{file.name}.{os.getpid()}"), content), file)
        except OSError as error:
            _tell_once(f"{self.folder}: thumbnails cannot be kept, and are made again each time: {error.strerror}")


def _kept(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


@lru_cache(maxsize=16)
def _tell_once(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def _unchanged(place: Place) -> bool:
    """Whether the file looks as it did when it was hashed: by its size and time, without reading it."""
    try:
        found = os.stat(place.path)
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) == (place.bytes, place.mtime_ns)


def _fitted(image: Any, side: int) -> Any:
    """The image in a box of `side`; smaller ones as they are, which a browser enlarges by whole pixels."""
    from PIL import Image

    width, height = image.size
    scale = side / max(width, height)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _webp(image: Any) -> bytes:
    exact = max(image.size) <= _EXACT
    return _encoded(image, "WEBP", lossless=exact, quality=80, method=2)


def _exact_or_jpeg(image: Any) -> bytes:
    if max(image.size) <= 512:
        return _encoded(image, "PNG", compress_level=3)
    return _encoded(image, "JPEG", quality=92)


def _encoded(image: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@lru_cache(maxsize=8)
def placeholder(word: str) -> Picture:
    """What stands for an image that cannot be shown: a crossed box with a word."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    edge = SIDE - 1
    for line in ((0, 0, edge, edge), (0, edge, edge, 0)):
        draw.line(line, fill=(160, 160, 160), width=2)
    left, top, right, bottom = draw.textbbox((SIDE / 2, SIDE / 2), word, anchor="mm")
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=(128, 128, 128))
    draw.text((SIDE / 2, SIDE / 2), word, fill=(255, 255, 255), anchor="mm")
    return Picture(_encoded(image, "WEBP", lossless=True), "image/webp")
