"""One scan decodes every image file; its result is kept in a manifest and reused while the file is the same.

DALI loses a batch where one file cannot be decoded, so everything that can go wrong with a file is found
here, before training, with Pillow and with the codec library that DALI itself uses. A file is `OK` when DALI
decodes it, `VIA_PILLOW` when it is a sound image that DALI cannot be trusted with (GIF, TIFF, ...) and
reaches it as a PNG made by Pillow, `BAD` when it is damaged, and `UNREADABLE`, which no manifest remembers,
when it could not be read.
"""

import io
import os
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from semisonic.data.sets.cache import locked, manifest_files
from semisonic.schema import UserError

OK, VIA_PILLOW, BAD, UNREADABLE = range(4)

_VERSION = 1  # raise it when `inspect` judges differently: manifests of another version are scanned again
_PROCESSES_FROM = 512  # files; below it, starting processes costs more than it saves
_PROGRESS_FROM = 2000  # files


class ScannedFile(NamedTuple):
    """What is known of a file; `height` and `width` in pixels after EXIF orientation, 0 if not sound."""

    bytes: int
    mtime_ns: int
    height: int
    width: int
    status: int
    reason: str

    @property
    def sound(self) -> bool:
        return self.status in (OK, VIA_PILLOW)


@dataclass(frozen=True)
class Scan:
    """The entries of the files asked for, in their order, and how many of them had to be decoded."""

    entries: list[ScannedFile]
    decoded: int


def inspect(path: str) -> tuple[int, int, int, str]:
    """Decode one file -> (height, width, status, reason); never raises."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        data = Path(path).read_bytes()
        if not data:
            return 0, 0, BAD, "empty file"
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "PNG":
                image.verify()  # checksums, which load() ignores
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            height, width = ImageOps.exif_transpose(image).size[::-1]
            if _dali_decodes(image, data, height, width):
                return height, width, OK, ""
            if image.mode in ("I", "F"):
                return 0, 0, BAD, f"{image.format} of mode {image.mode}, whose range of values is not defined"
            return height, width, VIA_PILLOW, ""
    except UnidentifiedImageError:
        return 0, 0, BAD, "not an image"
    except Exception as error:
        # Pillow raises a dozen types, all meaning that the file is damaged; only the system sets errno.
        status = BAD if getattr(error, "errno", None) is None else UNREADABLE
        return 0, 0, status, " ".join(str(error).split()) or type(error).__name__


def _dali_decodes(image, data: bytes, height: int, width: int) -> bool:
    """Whether the codec library inside DALI decodes `data` to the shape that Pillow finds.

    Only formats are tried that it decodes to Pillow's pixels: it also takes TIFF, but not all of it alike.
    """
    match image.format:
        case "JPEG" | "MPO":
            known = image.mode in ("L", "RGB", "CMYK")
        case "BMP":
            known = image.info.get("compression") == 0
        case other:
            known = other in ("PNG", "WEBP")
    if not known:
        return False
    decoder, params = _codec()
    decoded = decoder.decode(data, params=params)
    return decoded is not None and tuple(decoded.shape) == (height, width, 3)


@lru_cache(maxsize=1)
def _codec() -> tuple[Any, Any]:
    """nvImageCodec's decoder on the CPU, set as DALI sets it, and its parameters; one per process."""
    import nvidia.nvimgcodec as nvimgcodec

    decoder = nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=1,
        backends=[nvimgcodec.Backend(nvimgcodec.CPU_ONLY)],
    )
    return decoder, nvimgcodec.DecodeParams(apply_exif_orientation=True, color_spec=nvimgcodec.ColorSpec.SRGB)


def png_bytes(path: str | Path) -> bytes:
    """Decode a file with Pillow (first frame, EXIF orientation applied) -> PNG, RGB, 8 bit."""
    from PIL import Image

    with Image.open(path) as opened:
        image = rgb_image(opened)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def rgb_image(image: Any) -> Any:
    """One of Pillow's images as RGB of 8 bit, turned as its EXIF orientation says.

    Raises ValueError for modes whose range of values is not defined.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}, whose range of values is not defined")
    if image.mode.startswith("I;16"):  # convert() would clip to 255
        image = Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    return image.convert("RGB")


def decode(path: Path) -> np.ndarray:
    """The pixels of a file as DALI's decoder on the CPU has them: uint8 [H, W, 3], RGB, EXIF orientation applied.

    Raises ValueError with what `inspect` finds wrong.
    """
    from PIL import Image

    height, width, status, reason = inspect(str(path))
    if status not in (OK, VIA_PILLOW):
        raise ValueError(reason)
    if status == OK:
        decoder, params = _codec()
        return np.array(decoder.decode(path.read_bytes(), params=params)).reshape(height, width, 3)
    with Image.open(path) as opened:
        return np.array(rgb_image(opened))


def scan(root: Path, paths: Sequence[str], workers: int | None = None, write_inside: bool = True) -> Scan:
    """Entries of `paths` (relative to `root`, or absolute), decoding only what the manifest does not know.

    `workers`: processes that decode; None = one per CPU of this process; 1 = in this process. write_inside: whether the
    manifest may be written into `root`, or into the user's cache alone.
    """
    inside, file = manifest_files(root, write_inside)
    with locked(file):
        known = _read(inside) if file == inside else _read(inside) | _read(file)
        stats = [_stat(root / path) for path in paths]
        missing = [i for i, path in enumerate(paths) if (entry := known.get(path)) is None or entry[:2] != stats[i]]
        results = _inspect_all([str(root / paths[i]) for i in missing], workers)
        for i, (height, width, status, reason) in zip(missing, results, strict=True):
            known[paths[i]] = ScannedFile(*stats[i], height, width, status, reason)
        if missing:
            _write(file, {path: entry for path, entry in known.items() if entry.status != UNREADABLE})
    return Scan([known[path] for path in paths], len(missing))


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1  # `inspect` then gives the reason
    return found.st_size, found.st_mtime_ns


def _inspect_all(paths: list[str], workers: int | None) -> Iterable[tuple[int, int, int, str]]:
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(paths) < _PROCESSES_FROM:
        return list(_progress(map(inspect, paths), len(paths)))
    try:
        # spawn: forking a process that may hold CUDA, NCCL or DALI threads is not safe
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            with _without_main_module():
                results = executor.map(inspect, paths, chunksize=64)
            return list(_progress(results, len(paths)))
    except BrokenProcessPool as error:
        raise UserError(
            "data.workers: a process that checks images died (out of memory?); try fewer, or 1 for none"
        ) from error


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Processes that are spawned here do not run the main script again. They need nothing of it, and one that trains in
    its own lines, without `if __name__ == "__main__"`, would do so in each of them."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


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


def _write(file: Path, known: dict[str, ScannedFile]) -> None:
    columns = {name: np.array([getattr(e, name) for e in known.values()], kind) for name, kind in _COLUMNS.items()}
    columns["paths"] = _pack(known)
    columns["reasons"] = _pack(entry.reason for entry in known.values())
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with open(partial, "wb") as handle:
        np.savez_compressed(handle, version=np.array(_VERSION), **columns)  # type: ignore[arg-type]
    os.replace(partial, file)


def _read(file: Path) -> dict[str, ScannedFile]:
    """The manifest's entries by path; empty where it is missing, damaged or of another version."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["version"]) != _VERSION:
                return {}
            columns = [stored[name].tolist() for name in _COLUMNS]
            rows = zip(*columns, _unpack(stored["reasons"]), strict=True)
            return dict(zip(_unpack(stored["paths"]), (ScannedFile(*row) for row in rows), strict=True))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}  # it is a cache: the scan that follows rebuilds it


def _pack(strings: Iterable[str]) -> np.ndarray:
    # NumPy's string arrays are as wide as the longest one, and object arrays need pickle.
    return np.frombuffer(b"".join(os.fsencode(s) + b"\0" for s in strings), np.uint8)


def _unpack(packed: np.ndarray) -> list[str]:
    return [os.fsdecode(part) for part in packed.tobytes().split(b"\0")[:-1]]
