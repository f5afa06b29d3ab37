"""One scan decodes every image file once; its result is kept in a manifest and reused while the files stay
the same.

DALI loses a batch where one file cannot be decoded, so everything that can go wrong with a file is found
here, before training. A file is `OK` when DALI decodes it itself (checked by tests, format by format),
`VIA_PILLOW` when it is a sound image that DALI cannot decode (GIF, TIFF, ...) and reaches it as a PNG made
by Pillow, and `BAD` otherwise.
"""

import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semisonic.data.cache import locked, manifest_file
from semisonic.schema import UserError

OK, VIA_PILLOW, BAD = 0, 1, 2

_VERSION = 1  # raise it when `inspect` judges differently: manifests of another version are scanned again
_ORIENTATION = 0x0112  # EXIF tag
_POOL_FROM = 512  # files; below it, starting processes costs more than it saves
_PROGRESS_FROM = 2000  # files


class Entry(NamedTuple):
    """What is known of a file; `height` and `width` in pixels after EXIF orientation, 0 for a bad file."""

    bytes: int
    mtime_ns: int
    height: int
    width: int
    status: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """The entries of the files asked for, in their order, and how many of them had to be decoded."""

    entries: list[Entry]
    decoded: int


def inspect(path: str) -> tuple[int, int, int, str]:
    """Decode one file with Pillow -> (height, width, status, reason); never raises for what the file
    contains."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        if os.path.getsize(path) == 0:
            return 0, 0, BAD, "empty file"
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()  # checksums and the closing chunk, which load() ignores and DALI does not
        with Image.open(path) as image:
            image.load()
            height, width = ImageOps.exif_transpose(image).size[::-1]
            if _dali_decodes(image):
                return height, width, OK, ""
            if image.mode in ("I", "F"):
                return (
                    0,
                    0,
                    BAD,
                    f"{image.format} with pixels of mode {image.mode}, whose range is not defined",
                )
            return height, width, VIA_PILLOW, ""
    except UnidentifiedImageError:
        return 0, 0, BAD, "not an image"
    except (
        Exception
    ) as error:  # Pillow's decoders raise a dozen types; each of them means that this file is bad
        return 0, 0, BAD, " ".join(str(error).split()) or type(error).__name__


def _dali_decodes(image) -> bool:
    """Whether DALI decodes this loaded image to the same shape as Pillow."""
    from PIL import Image

    orientation, raw_exif = image.getexif().get(_ORIENTATION, 1), image.info.get("exif", b"")
    exif = Image.Exif()
    exif.load(raw_exif)
    # Pillow also reads an orientation from XMP, and neither knows what to do with a value outside 1..8.
    if orientation not in range(1, 9) or orientation != exif.get(_ORIENTATION, 1):
        return False
    match image.format:
        case "JPEG" | "MPO":
            return image.mode in ("L", "RGB", "CMYK")
        case "PNG":
            return True
        case "BMP":
            return image.info.get("compression") == 0
        case "WEBP":
            return not raw_exif  # DALI's parser stumbles over an EXIF chunk of odd length
        case _:
            return False


def png_bytes(path: str | Path) -> bytes:
    """Decode a file with Pillow (first frame, EXIF orientation applied) -> PNG, RGB, 8 bit."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # convert() would clip to 255
            image = Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def scan(root: Path, paths: Sequence[str], workers: int | None = None) -> Scan:
    """Entries of `paths` (relative to `root`, or absolute), decoding only what the manifest does not know
    yet.

    `workers`: processes that decode; None = one per CPU of this process; 1 = in this process.
    """
    file = manifest_file(root)
    with locked(file):
        known = _read(file)
        entries: list[Entry | None] = []
        for path in paths:
            found, entry = _stat(root / path), known.get(path)
            entries.append(entry if entry and found and entry[:2] == found else None)
        missing = [i for i, entry in enumerate(entries) if entry is None]
        results = _inspect_all([str(root / paths[i]) for i in missing], workers)
        for i, (height, width, status, reason) in zip(missing, results, strict=True):
            size, mtime_ns = _stat(root / paths[i]) or (0, 0)
            entries[i] = Entry(size, mtime_ns, height, width, status, reason)
        complete = [entry for entry in entries if entry is not None]
        if missing:
            known.update(zip(paths, complete, strict=True))
            _write(file, known)
    return Scan(complete, len(missing))


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # `inspect` then gives the reason
    return found.st_size, found.st_mtime_ns


def _inspect_all(paths: list[str], workers: int | None) -> Iterable[tuple[int, int, int, str]]:
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(paths) < _POOL_FROM:
        return list(_progress(map(inspect, paths), len(paths)))
    try:
        # spawn: forking a process that may hold CUDA, NCCL or DALI threads is not safe
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            return list(_progress(pool.map(inspect, paths, chunksize=64), len(paths)))
    except BrokenProcessPool as error:
        raise UserError(
            "data.workers: a process that checks images died (out of memory?); try fewer, or 1 for none"
        ) from error


def _progress(results: Iterator, total: int) -> Iterable:
    if total < _PROGRESS_FROM:
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, "Checking images", total=total, console=Console(stderr=True))


_COLUMNS = {
    "bytes": np.int64,
    "mtime_ns": np.int64,
    "height": np.int32,
    "width": np.int32,
    "status": np.uint8,
}


def _write(file: Path, known: dict[str, Entry]) -> None:
    columns = {
        name: np.array([getattr(e, name) for e in known.values()], kind) for name, kind in _COLUMNS.items()
    }
    columns["paths"] = _pack(known)
    columns["reasons"] = _pack(entry.reason for entry in known.values())
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with open(partial, "wb") as handle:
        np.savez_compressed(handle, version=np.array(_VERSION), **columns)  # type: ignore[arg-type]
    os.replace(partial, file)


def _read(file: Path) -> dict[str, Entry]:
    """The manifest's entries by path; empty where there is none, or one that is damaged or of another
    version."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["version"]) != _VERSION:
                return {}
            columns = [stored[name].tolist() for name in _COLUMNS]
            rows = zip(*columns, _unpack(stored["reasons"]), strict=True)
            return dict(zip(_unpack(stored["paths"]), (Entry(*row) for row in rows), strict=True))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}  # it is a cache: the scan that follows rebuilds it


def _pack(strings: Iterable[str]) -> np.ndarray:
    # NumPy's string arrays are as wide as the longest one, and object arrays need pickle.
    return np.frombuffer(b"".join(os.fsencode(s) + b"\0" for s in strings), np.uint8)


def _unpack(packed: np.ndarray) -> list[str]:
    return [os.fsdecode(part) for part in packed.tobytes().split(b"\0")[:-1]]
