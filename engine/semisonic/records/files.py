"""Regular files, opened without waiting: of a pipe, a device or a folder in a file's place it is said what it is."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | Path, pipes: bool = False) -> BinaryIO:
    """A regular file for reading. pipes: or a pipe, as a shell's `<(...)` is, or a device.

    Raises OSError, also for what is no such file, with what it is.
    """
    # Opening a pipe would wait for its writer, who may never come.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | (0 if pipes else os.O_NONBLOCK)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise _irregular(stat.S_IFSOCK, path) from None
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind != stat.S_IFREG and (kind == stat.S_IFDIR or not pipes):
            raise _irregular(kind, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _irregular(kind: int, path: str | Path) -> OSError:
    return OSError(errno.EINVAL, f"{_KINDS.get(kind, 'something else')}, not a regular file", os.fspath(path))
