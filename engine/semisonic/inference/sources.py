"""What is to be predicted, by name: image files of a folder, a list or a CSV, or the images of an .npy file.

A million names take as many bytes as they have letters: they are kept as one text.
"""

import hashlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, overload

import numpy as np

from semisonic.data.sets.walk import EXTENSIONS, PassedOver, find_images, is_image, relative
from semisonic.inference.inputs import Inputs
from semisonic.records.arrays import map_array
from semisonic.records.csv_file import check_columns, open_csv
from semisonic.schema import UserError

STDIN = Path("-")
LONGEST_LINE = 2**16
"""Bytes of a path in a list."""
_PACKED = 2**16
"""Names that are packed at a time."""


class Names(Sequence[str]):
    """Names of files, kept as one text; any bytes that a file system allows are kept too."""

    def __init__(self, names: Iterable[str]):
        self._text = bytearray()  # which grows in its place; parts that are joined would be there twice
        lengths: list[np.ndarray] = [np.zeros(1, np.int64)]
        names = iter(names)
        while some := [os.fsencode(name) for name in itertools.islice(names, _PACKED)]:
            self._text += b"".join(some)
            lengths.append(np.fromiter(map(len, some), np.int64, len(some)))
        self._ends = np.cumsum(np.concatenate(lengths))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return os.fsdecode(bytes(self._text[self._ends[index] : self._ends[index + 1]]))

    @property
    def digest(self) -> str:
        """Of all names in their order."""
        found = hashlib.blake2b(self._text, digest_size=16)
        found.update(self._ends.tobytes())
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class FileSources:
    """Image files, which need not be there or be images: what cannot be used is found when it is read."""

    root: Path
    names: Names
    """Paths relative to `root`, or absolute; the predictions have them as they are."""
    notes: tuple[str, ...] = ()
    """What to tell the user of them, a line each."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, row: int) -> str:
        return self.names[row]

    @cached_property
    def identity(self) -> str:
        """By which predictions that were stopped know them again: where they lie, and all names in their order."""
        return f"{self.names.digest} in {os.path.abspath(self.root)}"


@dataclass(frozen=True, eq=False)
class ArraySources:
    """The images of an .npy file, which stay on the disk until they are used."""

    path: Path
    notes: tuple[str, ...] = ()

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 or floats, [N, H, W, 3] or [N, H, W]. Raises `UserError` where the file holds no such array."""
        try:
            found = map_array(self.path, kinds="uf")
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}") from error
        except ValueError as error:
            raise UserError(f"{self.path} {error}; images are uint8 or floats, [N, H, W, 3] or [N, H, W]") from error
        if found.ndim not in (3, 4) or not found.size:
            raise UserError(f"{self.path} holds {list(found.shape)}; images are [N, H, W, 3] or [N, H, W]")
        return found

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, row: int) -> str:
        return f"{self.path.name}[{row}]"

    @cached_property
    def identity(self) -> str:
        seen = self.path.stat()
        return f"{os.path.abspath(self.path)} of {seen.st_size} bytes, written at {seen.st_mtime_ns} ns"


Sources = FileSources | ArraySources


def find_sources(images: Path | None, listed: Path | None, inputs: Inputs) -> Sources:
    """The images of a folder, an image, a CSV or an .npy file; or those that a list names, a path a line.

    Raises `UserError` where there are none.
    """
    if listed is not None:
        return _checked(FileSources(Path(), Names(_lines(listed))), f"--list {listed}: names no files")
    assert images is not None
    if not images.exists():
        raise UserError(f"{images}: no such file or folder")
    if images.suffix.lower() == ".npy" and images.is_file():
        found = ArraySources(images)
        # The first images tell whether all can be taken: as a list of images, since what the file holds is known.
        inputs.convert(np.asarray(found.pixels[:2]), f"{images}")
        return found
    if images.suffix.lower() == ".csv" and images.is_file():
        return _checked(FileSources(images.parent, Names(_csv_paths(images))), f"{images}: names no files")
    return files_below(images)


def _checked(sources: FileSources, problem: str) -> FileSources:
    if not len(sources):
        raise UserError(problem)
    return sources


def files_below(images: Path) -> FileSources:
    """All images below a folder, to any depth, in the order of their paths; or the one image that it is.

    Raises `UserError` where there are none.
    """
    if not images.exists():
        raise UserError(f"{images}: no such file or folder")
    kinds = f"no images found ({', '.join(sorted(EXTENSIONS))})"
    if not images.is_dir():
        return _checked(FileSources(images.parent, Names([images.name] * is_image(images.name))), f"{images}: {kinds}")
    passed = PassedOver()
    names = find_images(images, images, passed)
    # What cannot be followed may hold images: it is left out by name, as a file that cannot be read.
    broken = [relative(images, entry.path) for entry in passed.broken]
    if broken:
        names = sorted([*names, *broken])
    found = FileSources(images, Names(_used_up(names)), tuple(passed.notes()))
    return _checked(found, "; ".join([f"{images}: {kinds}", *passed.notes()]))


def _used_up(names: list[str]) -> Iterator[str]:
    """Names in their order, each of which leaves the list, and memory, once it is packed."""
    names.reverse()
    while names:
        yield names.pop()


def _lines(file: Path) -> Iterator[str]:
    """Paths, a line each, as they are; empty lines are none."""
    if file == STDIN:
        yield from _stripped(sys.stdin.buffer)
        return
    try:
        with file.open("rb") as opened:
            yield from _stripped(opened)
    except OSError as error:
        raise UserError(f"--list {file}: {error.strerror}") from error


def _stripped(lines: IO[bytes]) -> Iterator[str]:
    while line := lines.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UserError(f"--list: a line of more than {LONGEST_LINE:,} bytes; give one path a line")
        if name := line.rstrip(b"\r\n"):
            if b"\0" in name:
                raise UserError("--list: a path with a zero byte; give one path a line")
            yield os.fsdecode(name)


def _csv_paths(file: Path) -> Iterator[str]:
    """The column `path` of a CSV; its other columns are not looked at."""
    table = open_csv(file, "images")
    check_columns(table, file, "images", ("path",))
    column = table.header.index("path")
    for line, cells in table.rows:
        if len(cells) != len(table.header):
            count = len(table.header)
            raise UserError(f"images: line {line} of {file} has {len(cells)} fields, its first line {count}")
        if not cells[column].strip():
            raise UserError(f"images: line {line} of {file} names no path")
        yield cells[column].strip()
