"""One scan decodes every image file; its result is kept in a manifest and reused while the file is the same.

DALI loses a batch where one file cannot be decoded, so everything that can go wrong with a file is found
here, before training, with Pillow and with the codec library that DALI itself uses. A file is `OK` when DALI
decodes it, `VIA_PILLOW` when it is a sound image that DALI cannot be trusted with (GIF, TIFF, ...) and
reaches it as a PNG made by Pillow, `BAD` when it is damaged, and `UNREADABLE`, which no manifest remembers,
when it could not be read. While its bytes are at hand, they are hashed: by that a run knows its images again.
"""

import hashlib
import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semisonic.checkpoint.atomic_files import write_bytes
from semisonic.cpus import usable_cpus
from semisonic.data.sets.cache import locked, manifest_files
from semisonic.data.sets.limits import USUAL, Limits, TooManyPixels, open_image, read_regular
from semisonic.data.sets.own_pictures import is_own
from semisonic.data.sets.stand_ins import stand_in
from semisonic.data.sets.walk import unreadable
from semisonic.data.sets.workers import pool, signals_kept, without_main_module
from semisonic.records.arrays import open_arrays
from semisonic.schema import UserError
from semisonic.stopping import raise_if_stopped, until_stopped

OK, VIA_PILLOW, BAD, UNREADABLE = range(4)

_VERSION = 2  # raise it when `examine` judges differently: manifests of another version are scanned again
_PROCESSES_FROM = 512  # files; below it, starting processes costs more than it saves
_PROGRESS_FROM = 2000  # files
_DIGEST = 16  # bytes
Digest = bytes
"""BLAKE2b-128 of a file's bytes; b"" if it could not be read."""
_READ_ALL: ContextVar[bool] = ContextVar("read_all", default=False)


class ScannedFile(NamedTuple):
    """What is known of a file; `height` and `width` in pixels after EXIF orientation, 0 if not sound."""

    bytes: int
    mtime_ns: int
    inode: int
    height: int
    width: int
    status: int
    reason: str
    digest: Digest

    @property
    def sound(self) -> bool:
        return self.status in (OK, VIA_PILLOW)


@dataclass(frozen=True)
class Scan:
    """The entries of the files asked for, in their order, and how many of them had to be decoded."""

    entries: list[ScannedFile]
    decoded: int


class Examined(NamedTuple):
    """What was found in a file; the fields are `ScannedFile`'s."""

    height: int
    width: int
    status: int
    reason: str
    digest: Digest = b""


def inspect(path: str, limits: Limits = USUAL) -> tuple[int, int, int, str]:
    """Decode one file -> (height, width, status, reason); never raises."""
    found = examine(path, limits=limits)
    assert found is not None
    return found[:4]


def examine(path: str, known: bytes = b"", limits: Limits = USUAL) -> Examined | None:
    """Read one file, once: hash it and decode it. None where its digest is `known`, without decoding; never raises.

    What is no regular file or beyond the limits is unreadable.
    """
    try:
        data = read_regular(path, limits.bytes)
    except OSError as error:
        return Examined(0, 0, UNREADABLE, unreadable(path, error))
    except Exception as error:
        return _failure(error)._replace(status=UNREADABLE)
    digest = hashlib.blake2b(data, digest_size=_DIGEST).digest()
    if digest == known:
        return None
    try:
        return _judge(data, limits)._replace(digest=digest)
    except Exception as error:
        return _failure(error)._replace(digest=digest)


def _judge(data: bytes, limits: Limits) -> Examined:
    """What Pillow and DALI's codec library make of a file's bytes. Raises what Pillow does."""
    from PIL import UnidentifiedImageError

    if not data:
        return Examined(0, 0, BAD, "empty file")
    try:
        with open_image(io.BytesIO(data), limits.pixels) as image:
            if image.format != "PNG":
                return _judge_image(image, data)
            image.verify()  # checksums, which load() ignores; nothing else can be done with the image then
        with open_image(io.BytesIO(data), limits.pixels) as image:
            return _judge_image(image, data)
    except UnidentifiedImageError:
        return Examined(0, 0, BAD, stand_in(data))


def _judge_image(image: Any, data: bytes) -> Examined:
    from PIL import ImageOps

    image.load()
    if is_own(image):
        return Examined(0, 0, BAD, "a picture that semisonic made, not one of the data")
    height, width = ImageOps.exif_transpose(image).size[::-1]
    if _dali_decodes(image, data, height, width):
        return Examined(height, width, OK, "")
    if image.mode in ("I", "F"):
        reason = f"{image.format} of mode {image.mode}, whose range of values is not defined"
        return Examined(0, 0, BAD, reason)
    return Examined(height, width, VIA_PILLOW, "")


def _failure(error: Exception) -> Examined:
    # Pillow raises a dozen types, all meaning that the file is damaged; only the system sets errno, or lacks memory.
    lacking = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
    status = UNREADABLE if lacking else BAD
    reason = error.strerror if isinstance(error, TooManyPixels) else str(error)
    return Examined(0, 0, status, " ".join(str(reason).split()) or type(error).__name__)


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


def png_bytes(data: bytes) -> bytes:
    """Decode a file that was found sound with Pillow (first frame, EXIF orientation applied) -> PNG, RGB, 8 bit."""
    with open_image(io.BytesIO(data)) as opened:
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


def decode(path: Path, limits: Limits = USUAL) -> np.ndarray:
    """The pixels of a file as DALI's decoder on the CPU has them: uint8 [H, W, 3], RGB, EXIF orientation applied.

    Raises ValueError with what `inspect` finds wrong.
    """
    height, width, status, reason = inspect(str(path), limits)
    if status not in (OK, VIA_PILLOW):
        raise ValueError(reason)
    if status == OK:
        decoder, params = _codec()
        return np.array(decoder.decode(read_regular(path), params=params)).reshape(height, width, 3)
    with open_image(io.BytesIO(read_regular(path))) as opened:
        return np.array(rgb_image(opened))


@contextmanager
def reading_all(on: bool = True) -> Iterator[None]:
    """Inside, where `on`, a scan reads every file again, whatever the manifest knows of it."""
    token = _READ_ALL.set(on)
    try:
        yield
    finally:
        _READ_ALL.reset(token)


def scan(
    root: Path,
    paths: Sequence[str],
    workers: int | None = None,
    write_inside: bool = True,
    limits: Limits = USUAL,
) -> Scan:
    """Entries of `paths` (relative to `root`, or absolute), reading only what the manifest does not know, and decoding
    only what holds something else than it says.

    `workers`: processes that decode; None = one per CPU of this process; 1 = in this process. write_inside: whether the
    manifest may be written into `root`, or into the user's cache alone. limits: of a file; what is beyond them is not
    read.
    """
    inside, file = manifest_files(root, write_inside)
    again, top = _READ_ALL.get(), os.fspath(root)
    most, pixels = (math.inf if limit is None else limit for limit in (limits.bytes, limits.pixels))
    with locked(file) if file else nullcontext():
        known = _read(inside) if file in (inside, None) else _read(inside) | _read(file)
        full = [os.path.join(top, path) for path in paths]
        stats = [_stat(path) for path in full]
        missing = [
            i
            for i, path in enumerate(paths)
            if again
            or (entry := known.get(path)) is None
            or entry[:3] != stats[i]
            or entry[0] > most
            or entry[3] * entry[4] > pixels
        ]
        digests = [e.digest if (e := known.get(paths[i])) and e[3] * e[4] <= pixels else b"" for i in missing]
        results = _inspect_all([full[i] for i in missing], digests, workers, limits)
        decoded, changed = 0, False
        for i, found in zip(missing, results, strict=True):
            path = paths[i]
            decoded += found is not None
            changed |= found is not None or known[path][:3] != stats[i]
            known[path] = ScannedFile._make((*stats[i], *(known[path][3:] if found is None else found)))
        if changed and file:
            _write(file, {path: entry for path, entry in known.items() if entry.status != UNREADABLE})
    return Scan([known[path] for path in paths], decoded)


def _stat(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1, 0  # `examine` then gives the reason
    return found.st_size, found.st_mtime_ns, found.st_ino


def _inspect_all(
    paths: list[str], known: list[bytes], workers: int | None, limits: Limits
) -> Iterable[Examined | None]:
    """What `examine` finds in each file; `known`: the digests that the manifest has of them."""
    workers = workers or usable_cpus()
    if workers == 1 or len(paths) < _PROCESSES_FROM:
        return list(_progress(until_stopped(map(examine, paths, known, repeat(limits))), len(paths)))
    try:
        with pool(workers) as executor:
            with without_main_module(), signals_kept():
                results = executor.map(examine, paths, known, repeat(limits), chunksize=64)
            return list(_progress(until_stopped(results), len(paths)))
    except BrokenProcessPool as error:
        raise_if_stopped(patience=1)  # a signal for all processes of a job, which the workers got first
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
    "inode": np.uint64,
    "height": np.int32,
    "width": np.int32,
    "status": np.uint8,
}


def _write(file: Path, known: dict[str, ScannedFile]) -> None:
    columns = {name: np.array([getattr(e, name) for e in known.values()], kind) for name, kind in _COLUMNS.items()}
    columns["paths"] = pack(known)
    columns["reasons"] = pack(entry.reason for entry in known.values())
    columns["digests"] = pack_digests(entry.digest for entry in known.values())
    content = io.BytesIO()
    np.savez_compressed(content, version=np.array(_VERSION), **columns)  # type: ignore[arg-type]
    try:
        write_bytes(file, content.getbuffer())
    except OSError as error:
        warnings.warn(
            f"{file}, which keeps what is known of these images, cannot be written: {error.strerror}; they are read "
            "again next time",
            stacklevel=2,
        )


def _read(file: Path) -> dict[str, ScannedFile]:
    """The manifest's entries by path; empty where it is missing, damaged or of another version."""
    try:
        with open_arrays(file, own=True) as stored:
            if stored.read("version").item() != _VERSION:
                return {}
            arrays = {name: stored.read(name) for name in _COLUMNS}
            if any(arrays[name].dtype != kind or arrays[name].ndim != 1 for name, kind in _COLUMNS.items()):
                return {}
            raw = stored.read("digests").tobytes()
            digests = [raw[start : start + _DIGEST] for start in range(0, len(raw), _DIGEST)]
            columns = [array.tolist() for array in arrays.values()]
            rows = zip(*columns, unpack(stored.read("reasons")), digests, strict=True)
            known = dict(zip(unpack(stored.read("paths")), map(ScannedFile._make, rows), strict=True))
    except (OSError, KeyError, ValueError):
        return {}  # it is a cache: the scan that follows rebuilds it
    # Earlier versions had Pillow's limit of pixels alone, and remembered what was beyond it as damaged.
    for path in [path for path, entry in known.items() if entry[5] == BAD and "decompression bomb" in entry[6]]:
        del known[path]
    return known


def pack(strings: Iterable[str]) -> np.ndarray:
    """Strings, such as paths, as uint8 [bytes]."""
    # NumPy's string arrays are as wide as the longest one, and object arrays need pickle.
    return np.frombuffer(b"".join(os.fsencode(s) + b"\0" for s in strings), np.uint8)


def unpack(packed: np.ndarray) -> list[str]:
    return [os.fsdecode(part) for part in packed.tobytes().split(b"\0")[:-1]]


def pack_digests(digests: Iterable[bytes]) -> np.ndarray:
    """uint8 [N, 16]."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, _DIGEST)
