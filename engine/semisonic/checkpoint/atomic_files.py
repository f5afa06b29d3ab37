"""How files of a run are written: whole or not at all, on the disk before anything names them, and with a checksum."""

import errno
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypedDict

from semisonic.faults import reach_file
from semisonic.schema import UserError

PIECE = 2**24
"""Bytes of one write."""

FULL = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


class FileRecord(TypedDict):
    """What a file must be: its size in bytes, and the CRC-32 of its content in hexadecimal."""

    bytes: int
    crc32: str


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> FileRecord:
    """Writes a file and waits until it is on the disk. Raises `OSError`; what is there then is half a file."""
    size, crc = 0, 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                reach_file(path, "write", partial(os.write, descriptor, rest[: min(PIECE, len(rest)) // 2]))
                count = os.write(descriptor, rest[:PIECE])
                crc = zlib.crc32(rest[:count], crc)
                size += count
                rest = rest[count:]
        reach_file(path, "fsync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"bytes": size, "crc32": f"{crc:08x}"}


def file_problem(path: Path, record: FileRecord) -> str | None:
    """What is wrong with a file that should be as it was written; None if nothing is."""
    try:
        size, crc = 0, 0
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                crc = zlib.crc32(piece, crc)
                size += len(piece)
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    if size != record["bytes"]:
        return f"{path.name} has {size:,} bytes and should have {record['bytes']:,}"
    if f"{crc:08x}" != record["crc32"]:
        return f"{path.name} is damaged: its checksum differs"
    return None


def sync_folder(path: Path) -> None:
    """Has the disk know the names in a folder, on file systems that can be asked to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:  # some network and user-space file systems sync files only
            raise
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def stage(path: Path, content: bytes | memoryview) -> Path:
    """Writes the new content of a file beside it, ready to `replace` it: that needs no more space."""
    return stage_parts(path, [content])


def stage_parts(path: Path, parts: Iterable[bytes | memoryview]) -> Path:
    """The same of content that is made while it is written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_file(temporary, parts)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def replace(staged: Path, path: Path) -> None:
    """Gives a staged file its name, in place of the one before."""
    reach_file(path, "rename")
    os.replace(staged, path)
    reach_file(path, "named")
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Writes a file atomically: a reader sees the old content or the new, also after the machine has failed."""
    replace(stage(path, content), path)


def write_text(path: Path, text: str) -> None:
    """`write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def advice(error: OSError) -> str:
    """What the system said, and what to do about it."""
    remedy = "free space" if error.errno in FULL else "put this right"
    return f"{error.strerror or error}; {remedy}, then --resume"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A refusal of the file system inside is a `UserError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} could not be written: {advice(error)}") from error
