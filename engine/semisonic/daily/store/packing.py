"""Numbers of images as a text: what an event says of a million images is kept with it."""

import base64
import zlib

import numpy as np


def pack_ids(images: np.ndarray) -> str:
    """Numbers of images, int [N], as a text that sorts them and leaves out repetitions."""
    numbers = np.unique(np.asarray(images, np.int64))
    return base64.b64encode(zlib.compress(np.diff(numbers, prepend=0).astype("<i8").tobytes(), 6)).decode()


def unpack_ids(text: str) -> np.ndarray:
    """The reverse of `pack_ids`: int64 [N], ascending."""
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8")).astype(np.int64)
