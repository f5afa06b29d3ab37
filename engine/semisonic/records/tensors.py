"""Safetensors files: what their headers say is checked before anything is made of it.

A header is JSON of its own length, which the first 8 bytes are: for each tensor a type, a shape and where its bytes
are. A file is read where its tensors fill exactly what is behind the header, so that no number in it can ask for more
memory than the file has bytes.
"""

import math
import struct
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semisonic.records.entries import Count, Record
from semisonic.records.reading import MEGABYTE, decoded, parse_json, regular_file, shown
from semisonic.records.schemas import mistakes
from semisonic.schema import UserError
from semisonic.text import name_of

LONGEST_HEADER = 64 * MEGABYTE
MOST_DIMENSIONS = 16
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "BOOL": 8, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8,
    "U16": 16, "U32": 32, "U64": 64, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8,
}  # fmt: skip
"""Types that are read, and their sizes."""


class Entry(NamedTuple):
    """A tensor of a file, by its header."""

    dtype: str
    shape: tuple[int, ...]


class _Described(Record):
    dtype: str
    shape: Annotated[list[Count], Field(max_length=MOST_DIMENSIONS)]
    data_offsets: Annotated[list[Count], Field(min_length=2, max_length=2)]


_HEADER: TypeAdapter[dict[str, _Described]] = TypeAdapter(dict[str, _Described])


def read_header(path: Path, name: str | None = None) -> dict[str, Entry]:
    """The tensors of a safetensors file, by its header. Raises `UserError`; `name` is what messages call the file."""
    name = name or str(path)
    with regular_file(path, name) as (file, size):
        begin = file.read(8)
        length = struct.unpack("<Q", begin)[0] if len(begin) == 8 else 0
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            raise UserError(f"{name}: is no safetensors file (a header of {length:,} bytes in a file of {size:,})")
        content = parse_json(decoded(file.read(length), name), name)
    if not isinstance(content, dict):
        raise UserError(f"{name}: its header is {shown(content)}; an object of tensors is needed")
    content.pop("__metadata__", None)
    try:
        found = _HEADER.validate_python(content)
    except ValidationError as error:
        raise UserError(mistakes(error, name)) from error
    _check_offsets(found, size - 8 - length, name)
    return {key: Entry(entry.dtype, tuple(entry.shape)) for key, entry in found.items()}


def _check_offsets(found: dict[str, Any], space: int, name: str) -> None:
    """Raises `UserError` where the tensors are not all of the bytes behind the header, one after the other."""
    end, last = 0, "the header"
    for key, entry in sorted(found.items(), key=lambda pair: (pair[1].data_offsets, pair[0])):
        tensor = f"{name}: {name_of(key)}"
        if entry.dtype not in BITS:
            raise UserError(f"{tensor}: the type {name_of(entry.dtype)} is none of {', '.join(BITS)}")
        start, stop = entry.data_offsets
        wanted = math.prod(entry.shape) * BITS[entry.dtype] // 8
        if stop - start != wanted:
            shape = list(entry.shape)
            raise UserError(f"{tensor}: {entry.dtype} {shape} needs {wanted:,} bytes, its place has {stop - start:,}")
        if start != end:
            raise UserError(f"{tensor}: begins at byte {start:,}, and {name_of(last)} ends at {end:,}")
        end, last = stop, key
    if end != space:
        raise UserError(f"{name}: its tensors are {end:,} bytes, and the file has {space:,} behind its header")


def load_tensors(path: Path, name: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU. Raises `UserError`."""
    read_header(path, name)
    try:
        return load_file(path)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:  # one that changes while it is read
        raise UserError(f"{name or path}: cannot be read ({name_of(error)})") from error
