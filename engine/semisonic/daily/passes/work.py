"""What is computed of many images, part by part: each part is a file that is whole or not there, so that a step that
was stopped goes on at its next part, on any number of ranks.

    FOLDER/begun.json          what the parts are of, by which a step knows its own
    FOLDER/images.npy          int64: the images by number, in the order of the parts
    FOLDER/part-NUMBER.npz     arrays of one part
"""

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.checkpoint.atomic_files import write_bytes, write_text
from semisonic.daily.writing import written
from semisonic.records.arrays import open_arrays, read_array
from semisonic.schema import UserError
from semisonic.text import dump_json

AGAIN = "run the same command again"
"""What continues a step."""
BEGUN, IMAGES = "begun.json", "images.npy"
LEAST, MOST, PARTS = 256, 8192, 64
"""Images of a part, at least and at most; and the number of parts that is aimed at, which ranks share."""


def rows_of_part(images: int) -> int:
    """Images of a part, where there are so many in all."""
    return min(MOST, max(LEAST, -(-images // PARTS)))


@dataclass(frozen=True, eq=False)
class Work:
    """A step's parts, on the disk."""

    folder: Path
    images: np.ndarray
    """int64 [N]: the images by number."""

    @cached_property
    def parts(self) -> list[range]:
        """The rows of `images` that each part holds."""
        count, rows = len(self.images), rows_of_part(len(self.images))
        return [range(first, min(first + rows, count)) for first in range(0, count, rows)]

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.npz"

    def done(self, part: int) -> bool:
        return self._path(part).is_file()

    def write(self, part: int, arrays: Mapping[str, np.ndarray]) -> None:
        with written(self.folder):
            write_bytes(self._path(part), _npz(arrays))

    def read(self, part: int, *names: str) -> list[np.ndarray]:
        """Arrays of a part. Raises `UserError`."""
        path = self._path(part)
        try:
            with open_arrays(path, own=True) as archive:
                return [archive.read(name) for name in names]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path}: {error}; remove {self.folder} and run this step again") from error

    def column(self, name: str) -> np.ndarray:
        """An array of all parts that have it, one after the other."""
        return np.concatenate([self.read(part, name)[0] for part in range(len(self.parts))])

    def remove(self) -> None:
        """Once its parts are needed no more; what it was of goes first."""
        with written(self.folder):
            (self.folder / BEGUN).unlink(missing_ok=True)
            if self.folder.exists():
                shutil.rmtree(self.folder)


def _npz(arrays: Mapping[str, np.ndarray]) -> memoryview:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getbuffer()


def begin(folder: Path, identity: Mapping[str, Any], images: np.ndarray) -> Work:
    """The work on these images, int64 [N]; or that which was begun before, where it holds all of them and is of the
    same identity. Work of another kind is removed: all that it is of is there still. Of no images nothing is written.
    """
    if (before := begun(folder, identity)) and np.isin(images, before.images).all():
        return before
    work = Work(folder, images)
    work.remove()
    if not len(images):
        return work
    with written(folder):
        folder.mkdir(parents=True)
        content = io.BytesIO()
        np.save(content, images.astype(np.int64))
        write_bytes(folder / IMAGES, content.getbuffer())
        write_text(folder / BEGUN, dump_json(dict(identity), indent=1))
    return work


def begun(folder: Path, identity: Mapping[str, Any]) -> Work | None:
    """Work that was begun and is of this identity; None where there is none."""
    try:
        if json.loads((folder / BEGUN).read_bytes()) != json.loads(dump_json(dict(identity))):
            return None
        return Work(folder, read_array(folder / IMAGES, kinds="i"))
    except (OSError, ValueError, RecursionError):
        return None
