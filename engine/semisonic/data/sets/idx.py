"""The IDX format of MNIST: a magic number, the dimensions (big-endian), then the bytes; gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from semisonic.schema import UserError

FILES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}
_UINT8 = 0x08


def find_idx(root: Path, raw: str) -> tuple[dict[str, Path], list[str]]:
    """The four files in `root` or, as torchvision lays them out, in `root`/`raw` -> (those found, names not
    found)."""
    found: dict[str, Path] = {}
    for role, name in FILES.items():
        candidates = (folder / (name + end) for folder in (root, root / raw) for end in ("", ".gz"))
        if file := next((c for c in candidates if c.is_file()), None):
            found[role] = file
    return found, [name for role, name in FILES.items() if role not in found]


def read_idx(path: Path, dims: int) -> np.ndarray:
    """Read a uint8 array of `dims` dimensions. Raises UserError, naming the file, where it is not one."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data.root: cannot read {path}: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise UserError(f"data.root: {path} is not an IDX file (wrong magic number)")
    if data[2] != _UINT8 or data[3] != dims:
        raise UserError(
            f"data.root: {path} holds type 0x{data[2]:02x} in {data[3]} dimensions; "
            f"unsigned bytes (0x08) in {dims} are needed"
        )
    start = 4 + 4 * dims
    if len(data) < start:
        raise UserError(f"data.root: {path} is truncated or damaged: it ends within its dimensions")
    shape = tuple(np.frombuffer(data[4:start], ">u4").tolist())
    wanted = math.prod(shape)
    if len(data) - start != wanted:
        raise UserError(
            f"data.root: {path} is truncated or damaged: {len(data) - start} bytes of data, "
            f"{wanted} expected for {'x'.join(map(str, shape))}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_images_and_labels(found: dict[str, Path], part: str, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """`part` is train or test -> uint8 [N, size, size], int64 [N]. Raises UserError where they do not fit."""
    images, labels = found[f"{part} images"], found[f"{part} labels"]
    pixels, targets = read_idx(images, 3), read_idx(labels, 1)
    if pixels.shape[1:] != (size, size):
        raise UserError(f"data.root: {images} holds images of {pixels.shape[1]}x{pixels.shape[2]}, not {size}x{size}")
    if len(pixels) != len(targets) or not len(targets):
        raise UserError(f"data.root: {images} holds {len(pixels)} images, {labels} {len(targets)} labels")
    if targets.max() >= classes:
        raise UserError(f"data.root: {labels} holds label {targets.max()}; labels are 0 to {classes - 1}")
    return pixels, targets.astype(np.int64)
