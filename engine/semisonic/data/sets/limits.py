"""What of users' files is read: regular ones, without waiting, with no more bytes and pixels than the user allows."""

import errno
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from semisonic.records.files import open_regular

MB = 10**6
"""Bytes."""
FILE_MB = 512.0
PIXELS = 178_956_970
"""Where Pillow takes an image for a decompression bomb, unless its user says otherwise."""


@dataclass(frozen=True)
class Limits:
    """What one file may hold; the fields of `DataConfig` that these are."""

    file_mb: float | None = FILE_MB
    """`data.max_file_mb`: megabytes (10^6 bytes); None: any."""
    pixels: int | None = PIXELS
    """`data.max_pixels`; None: any."""

    @property
    def bytes(self) -> int | None:
        return None if self.file_mb is None else int(self.file_mb * MB)


USUAL = Limits()
ANY = Limits(None, None)
"""For files that were found to be within a user's limits before."""


class TooManyPixels(OSError):
    """An image of more pixels than `Limits.pixels`: nothing is wrong with it."""


def open_limited(path: str | Path, most: int | None = None) -> BinaryIO:
    """A regular file of at most `most` bytes. Raises OSError as `open_regular` does, and for a larger one."""
    file = open_regular(path)
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        file.close()
        reason = f"{size / MB:,.1f} MB are more than data.max_file_mb={most / MB:g}"
        raise OSError(errno.EFBIG, reason, os.fspath(path))
    return file


def read_regular(path: str | Path, most: int | None = None) -> bytes:
    """The bytes of a regular file. Raises OSError as `open_limited` does."""
    with open_limited(path, most) as file:
        size = os.fstat(file.fileno()).st_size
        return file.read(size)  # not more: a file may grow faster than it is read


@contextmanager
def open_image(source: str | Path | BinaryIO, pixels: int | None = None) -> Iterator[Any]:
    """One of Pillow's images, to be decoded inside.

    pixels: that it may have; None where this was looked at before. Raises `TooManyPixels`, and what Pillow does.
    """
    from PIL import Image

    _allow(math.inf)
    try:
        opened = Image.open(source)  # which reads its size alone
    finally:
        _allow_no_more(math.inf)
    own = math.inf if pixels is None else pixels
    _allow(own)
    try:
        with opened as image:
            width, height = image.size
            if width * height > own:
                reason = f"{width} x {height} pixels are more than data.max_pixels={pixels}; raise it to read this one"
                raise TooManyPixels(errno.EFBIG, reason)
            yield image
    finally:
        _allow_no_more(own)


# Pillow's own limit, which it asks for while it opens and decodes, is one for the whole process: it is raised to the
# largest of the images that are open, and then what its user has set. (Functions, since context managers would take a
# tenth of the time in which a small image is checked.)
_allowed: list[float] = []
"""Pixels, for each image that is open."""
_usual: list[int | None] = []
"""What the process had before, while images are open."""
_changing = threading.Lock()


def _allow(pixels: float) -> None:
    from PIL import Image

    with _changing:
        if not _allowed:
            _usual.append(Image.MAX_IMAGE_PIXELS)
        _allowed.append(pixels)
        _set_pillow(max(_allowed))


def _allow_no_more(pixels: float) -> None:
    from PIL import Image

    with _changing:
        _allowed.remove(pixels)
        if _allowed:
            _set_pillow(max(_allowed))
        else:
            Image.MAX_IMAGE_PIXELS = _usual.pop()


def _set_pillow(pixels: float) -> None:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None if math.isinf(pixels) else int(pixels)
