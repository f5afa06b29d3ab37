"""Arrays of .npy and .npz files: what a header says is compared with the size of the file before memory is taken.

NumPy's own reader takes the memory that a header asks for, and of what it cannot read it says how to switch its checks
off. Here only numbers and text of NumPy's own types are read; nothing is unpickled. What is wrong with a file is a
`ValueError` whose text goes behind its name; what the system refuses stays an `OSError`.
"""

import ast
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from math import prod
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from semisonic.records.files import open_regular
from semisonic.text import name_of

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 2**16
_MEMBERS = 1000
_TYPES = re.compile(r"[<>|=]?(?:[biuf](?:[1248])|U\d{1,6}|\?)")
_LARGEST_RATIO, _SMALL = 200, 2**24
"""How many times larger than it is stored a member of an .npz may be, once it is larger than this in bytes."""


class Header(NamedTuple):
    """What an .npy says of its array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool
    start: int
    """Bytes before the data."""

    @property
    def bytes(self) -> int:
        """Of the data."""
        return prod(self.shape) * self.dtype.itemsize

    def text(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"


class Archive:
    """The arrays of an .npz, each read when it is asked for."""

    def __init__(self, file: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], own: bool):
        self._file, self._members, self._own = file, members, own

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def header(self, name: str) -> Header:
        """Raises ValueError, as `read` does."""
        info = self._members[name]
        with _named(f"its array {name_of(name)}"), self._file.open(info) as member:
            return _checked(_read_header(member), info.file_size)

    def read(self, name: str, most: int | None = None) -> np.ndarray:
        """An array of at most `most` bytes. Raises ValueError for one that is damaged, of another type, or larger."""
        header, info = self.header(name), self._members[name]
        with _named(f"its array {name_of(name)}"):
            if most is not None and header.bytes > most:
                raise ValueError(f"is {header.text()}, {header.bytes:,} bytes; at most {most:,} are needed")
            large = info.file_size > _SMALL and not self._own
            if large and info.file_size > _LARGEST_RATIO * max(1, info.compress_size):
                raise ValueError(f"would be {info.file_size:,} bytes out of {info.compress_size:,}")
            with self._file.open(info) as member:
                member.read(header.start)
                data = member.read(header.bytes)
                if member.read(1) or len(data) != header.bytes:  # its checksum is compared at its end
                    raise ValueError("has another size than it says")
            return _array(header, np.frombuffer(data, header.dtype))


@contextmanager
def open_arrays(path: Path, own: bool = False) -> Iterator[Archive]:
    """The arrays of an .npz. Raises ValueError for what is none, and OSError.

    own: whether this program wrote it, of whose columns some may shrink a thousandfold.
    """
    with open_regular(path) as handle:
        if handle.read(len(_MAGIC)) == _MAGIC:
            raise ValueError("is a single array; an .npz with named arrays is needed")
        with _understood("is no .npz, or damaged"):
            file = zipfile.ZipFile(handle)
        infos = file.infolist()
        if len(infos) > _MEMBERS:
            raise ValueError(f"holds {len(infos):,} arrays; at most {_MEMBERS:,} are read")
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name in members:
                raise ValueError(f"holds the array {name_of(name)} twice")
            members[name] = info
        yield Archive(file, members, own)


def read_array(path: Path, shape: tuple[int, ...] | None = None, kinds: str = "biuf") -> np.ndarray:
    """The array of an .npy, of this shape and of NumPy's kinds of types. Raises ValueError, before memory is taken,
    and OSError."""
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        header = _checked(_read_header(handle), size)
        if header.dtype.kind not in kinds or (shape is not None and header.shape != shape):
            raise ValueError(f"holds {header.text()}")
        handle.seek(header.start)
        data = np.fromfile(handle, header.dtype, count=prod(header.shape))
        if data.size != prod(header.shape):
            raise ValueError("ends within its array")
        return _array(header, data)


def map_array(path: Path, kinds: str = "biuf") -> np.ndarray:
    """The array of an .npy, read from the disk where it is looked at. Raises what `read_array` does."""
    with open_regular(path) as handle:
        header = _checked(_read_header(handle), os.fstat(handle.fileno()).st_size)
    if header.dtype.kind not in kinds:
        raise ValueError(f"holds {header.text()}")
    if not prod(header.shape):
        return np.empty(header.shape, header.dtype)
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", header.start, header.shape, order)


def _read_header(file: IO[bytes]) -> Header:
    start = file.read(12)
    if len(start) < 12 or start[:6] != _MAGIC:
        raise ValueError("is no .npy, or damaged")
    if start[6] == 1:
        length, rest = struct.unpack("<H", start[8:10])[0], start[10:]
    elif start[6] in (2, 3):
        length, rest = struct.unpack("<I", start[8:12])[0], b""
    else:
        raise ValueError(f"is an .npy of version {start[6]}; 1, 2 and 3 are known")
    if length > _LONGEST_HEADER:
        raise ValueError(f"has a header of {length:,} bytes; it is damaged")
    text = rest + file.read(length - len(rest))
    if len(text) < length:
        raise ValueError("ends within its header")
    return _parse(text[:length], 12 - len(rest) + length)


def _parse(text: bytes, start: int) -> Header:
    try:
        # Bounded by its length; what nests too deep is a SyntaxError, MemoryError or RecursionError.
        entries = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("has a damaged header") from error
    if not isinstance(entries, dict) or set(entries) != {"descr", "fortran_order", "shape"}:
        raise ValueError("has a damaged header")
    kind, shape, fortran_order = entries["descr"], entries["shape"], entries["fortran_order"]
    if isinstance(kind, str) and re.fullmatch(r"[<>|=]?O\d*", kind):
        raise ValueError("holds Python objects, which are not loaded: they can run anything; save numbers")
    if not isinstance(kind, str) or not _TYPES.fullmatch(kind):
        what = "records" if isinstance(kind, list) else f"the type {name_of(kind)}"
        raise ValueError(f"holds {what}; save numbers of one type")
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ValueError(f"has a shape that none can have: {name_of(shape)}")
    if not isinstance(fortran_order, bool):
        raise ValueError("has a damaged header")
    try:
        return Header(np.dtype(kind), shape, fortran_order, start)
    except TypeError as error:  # a size that this kind does not have, such as f1
        raise ValueError(f"holds the type {kind}; save numbers of one type") from error


def _checked(header: Header, size: int) -> Header:
    """The header of an .npy of `size` bytes. Raises ValueError where it says another size."""
    if header.start + header.bytes != size:
        raise ValueError(
            f"says {header.text()}, {header.bytes:,} bytes, and holds {size - header.start:,}: truncated or damaged"
        )
    return header


def _array(header: Header, data: np.ndarray) -> np.ndarray:
    array = data.reshape(header.shape, order="F" if header.fortran_order else "C")
    return array.astype(header.dtype.newbyteorder("="))


@contextmanager
def _understood(damaged: str) -> Iterator[None]:
    """The errors that zipfile and its decompressors raise of damaged content, as one."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError, NotImplementedError, struct.error, KeyError,
        OverflowError, IndexError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise ValueError(f"{damaged} ({name_of(error)})" if str(error) else damaged) from error
    except OSError as error:
        if error.errno is None:  # of bz2; the system's own have a number
            raise ValueError(f"{damaged} ({name_of(error)})") from error
        raise


@contextmanager
def _named(what: str) -> Iterator[None]:
    """What is wrong inside is so of `what`."""
    try:
        with _understood("is damaged"):
            yield
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error
