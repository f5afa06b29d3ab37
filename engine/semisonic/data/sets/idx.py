"""The IDX format of MNIST: a magic number, the dimensions (big-endian), then the bytes; gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.records.arrays import open_regular
from semisonic.schema import UserError

FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}
MOST_IMAGES = 2**20
"""Of one file; the largest set in this format has 814,255."""
_UINT8 = 0x08
_PIECE = 2**24  # bytes


def find_idx(root: Path, raw: str) -> tuple[dict[str, Path], list[str]]:
    """The four files in `root` or, as torchvision lays them out, in `root`/`raw` -> (those found, names not
    found)."""
    found: dict[str, Path] = {}
    for role, name in FILES.items():
        candidates = (folder / (name + end) for folder in (root, root / raw) for end in ("", ".gz"))
        if file := next((c for c in candidates if c.is_file()), None):
            found[role] = file
    return found, [name for role, name in FILES.items() if role not in found]


def read_idx(path: Path, dims: int, most: int = MOST_IMAGES, image: tuple[int, ...] | None = None) -> np.ndarray:
    """Read a uint8 array of `dims` dimensions, the first of them at most `most`, the others `image` where it is given.

    Raises UserError, naming the file, where it is not one, before memory is taken for what a header claims.
    """
    try:
        with open_regular(path) as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            with gzip.GzipFile(fileobj=file) if zipped else file as content:
                return _read(content, dims, most, image)
    except OSError as error:
        raise UserError(f"data.root: cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise UserError(f"data.root: cannot read {path}: {error}") from error
    except ValueError as error:
        raise UserError(f"data.root: {path} {error}") from error


def _read(file: Any, dims: int, most: int, image: tuple[int, ...] | None) -> np.ndarray:
    """Raises ValueError for what is wrong with the content."""
    head = file.read(4 + 4 * dims)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise ValueError("is not an IDX file (wrong magic number)")
    if head[2] != _UINT8 or head[3] != dims:
        raise ValueError(
            f"holds type 0x{head[2]:02x} in {head[3]} dimensions; unsigned bytes (0x08) in {dims} are needed"
        )
    if len(head) < 4 + 4 * dims:
        raise ValueError("is truncated or damaged: it ends within its dimensions")
    shape = tuple(np.frombuffer(head[4:], ">u4").tolist())
    if image is not None and shape[1:] != image:
        raise ValueError(f"holds images of {'x'.join(map(str, shape[1:]))}, not {'x'.join(map(str, image))}")
    if shape[0] > most:
        raise ValueError(f"says that it holds {shape[0]:,} images or labels; at most {most:,} are read")
    wanted, data = math.prod(shape), bytearray()
    while len(data) <= wanted and (piece := file.read(min(_PIECE, wanted + 1 - len(data)))):
        data += piece
    if len(data) != wanted:
        found = f"{len(data)}" if len(data) < wanted else f"more than {wanted}"
        raise ValueError(
            f"is truncated or damaged: {found} bytes of data, {wanted} expected for {'x'.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_images_and_labels(found: dict[str, Path], part: str, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """`part` is train or test -> uint8 [N, size, size], int64 [N]. Raises UserError where they do not fit."""
    images, labels = found[f"{part} images"], found[f"{part} labels"]
    pixels, targets = read_idx(images, 3, image=(size, size)), read_idx(labels, 1)
    if len(pixels) != len(targets) or not len(targets):
        raise UserError(f"data.root: {images} holds {len(pixels)} images, {labels} {len(targets)} labels")
    if targets.max() >= classes:
        raise UserError(f"data.root: {labels} holds label {targets.max()}; labels are 0 to {classes - 1}")
    return pixels, targets.astype(np.int64)
