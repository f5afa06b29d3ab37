"""Features of images, on the disk: float16 rows in the order of the images' numbers, mapped into memory.

FOLDER/NAME.npy        float16 [N, D], rows of length 1
FOLDER/NAME.ids.npy    int64 [N]: the images by number, ascending
FOLDER/NAME.json       what made them, and a digest of the numbers: with another one, the two above are not of a kind
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.checkpoint.atomic_files import replace, stage, sync_folder, write_file
from semisonic.daily.writing import written
from semisonic.records.arrays import map_array, read_array
from semisonic.text import dump_json

BLOCK = 2**15
"""Rows that are copied at a time."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of images; N and D may be 0."""

    ids: np.ndarray
    """int64 [N]: the images by number, ascending."""
    rows: np.ndarray
    """float16 [N, D] of length 1, mapped from the disk."""
    made_by: str = ""
    """Digest of the network."""

    def places(self, images: np.ndarray) -> np.ndarray:
        """Rows of these images, int64 [n]; -1 where there is none."""
        images = np.asarray(images, np.int64)
        if not len(self.ids):
            return np.full(len(images), -1)
        found = np.searchsorted(self.ids, images).clip(max=len(self.ids) - 1)
        return np.where(self.ids[found] == images, found, -1)

    def of(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, D] of images that are all there. Raises KeyError with those that are not."""
        places = self.places(images)
        if (missing := np.asarray(images)[places < 0]).size:
            raise KeyError(missing.tolist())
        return np.asarray(self.rows[places], np.float32)


def read(folder: Path, name: str) -> Features | None:
    """Features that are whole; None where there are none."""
    try:
        about = json.loads((folder / f"{name}.json").read_bytes())
        ids = read_array(folder / f"{name}.ids.npy", kinds="i")
        rows = map_array(folder / f"{name}.npy", kinds="f")
        if about["ids"] != _digest(ids) or rows.ndim != 2 or len(rows) != len(ids):
            return None
        return Features(ids, rows, str(about["made_by"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write(
    folder: Path, name: str, made_by: str, parts: Iterable[tuple[np.ndarray, np.ndarray]], ids: np.ndarray, dim: int
) -> Features:
    """Puts features in the place of those before, all or none of them. Raises `UserError`.

    parts: (ids [n], rows [n, dim]) in the order of `ids`, which are all of them, ascending.
    """
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        settle(folder, name)
        header = io.BytesIO()
        about = {"descr": "<f2", "fortran_order": False, "shape": (len(ids), dim)}
        np.lib.format.write_array_header_1_0(header, about)
        rows = (np.ascontiguousarray(rows, np.float16).data.cast("B") for _, rows in parts if len(rows))
        staged = _staged(folder, name)
        try:
            write_file(staged[0], _chain(header.getvalue(), rows))
        except OSError:
            staged[0].unlink(missing_ok=True)
            raise
        content = io.BytesIO()
        np.save(content, ids.astype(np.int64))
        stage(folder / f"{name}.ids.npy", content.getbuffer())
        said: dict[str, Any] = {"format": 1, "made_by": made_by, "ids": _digest(ids), "rows": len(ids), "dim": dim}
        stage(folder / f"{name}.json", dump_json(said).encode())
        sync_folder(folder)
        settle(folder, name)
    found = read(folder, name)
    assert found is not None
    return found


def merged(
    before: Features | None, parts: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts (ids, rows) in ascending order, and between them what was there before of other images."""
    start = 0
    for ids, rows in parts:
        if before is not None and len(ids):
            first, end = np.searchsorted(before.ids, [ids[0], ids[-1] + 1])
            yield from _blocks(before, start, int(first))
            own = np.arange(first, end)[~np.isin(before.ids[first:end], ids)]
            start, both = int(end), np.concatenate([before.ids[own], ids])
            rows = np.concatenate([before.rows[own], rows])
            order = np.argsort(both)
            ids, rows = both[order], rows[order]
        yield ids, rows
    if before is not None:
        yield from _blocks(before, start, len(before.ids))


def _blocks(found: Features, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(start, end, BLOCK):
        last = min(first + BLOCK, end)
        yield found.ids[first:last], found.rows[first:last]


def settle(folder: Path, name: str) -> None:
    """Finishes what a kill has stopped once all was written, or forgets it. One process may call it.

    What was staged is whole where the last of it, the .json, is.
    """
    staged = _staged(folder, name)
    try:
        json.loads(staged[-1].read_bytes())
    except (OSError, ValueError):
        for path in staged:
            path.unlink(missing_ok=True)
        return
    for path in staged:
        if path.exists():
            replace(path, path.with_name(path.name[1:].removesuffix(".tmp")))


def _staged(folder: Path, name: str) -> list[Path]:
    return [folder / f".{name}{ending}.tmp" for ending in (".npy", ".ids.npy", ".json")]


def _digest(ids: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(ids, np.int64).tobytes(), digest_size=16).hexdigest()


def _chain(first: bytes, rest: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    yield first
    yield from rest
