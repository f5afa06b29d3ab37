"""What people see may lose its reader: a terminal that is closed, a pipe whose other end has gone. The run goes on."""

import errno
import io
import os
import sys
from typing import IO, Any, cast

GONE = (errno.EIO, errno.EPIPE)
"""What a write to a closed terminal and to a pipe without a reader fails with."""


def lasting(file: IO[str]) -> IO[str]:
    """The file; from the moment on that nobody can read it any more, all that is written to its descriptor is dropped.

    Nowhere is left to say so. What is to be kept is in the run's folder, whatever it prints.
    """
    return cast(IO[str], _Lasting(file))


def encodable(text: str, encoding: str | None) -> str:
    """Text with what an encoding does not have as Python writes it, such as \\xe9; encoding: of a file, or None."""
    encoding = encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def show_everything() -> None:
    """What the process prints may hold what its terminal's encoding does not have: that is escaped, and no error."""
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors="backslashreplace")


class _Lasting:
    def __init__(self, file: IO[str]):
        self._file = file

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except UnicodeEncodeError:
            return self.write(encodable(text, getattr(self._file, "encoding", None)))
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        # The descriptor itself, so that what is buffered does not fail again when the process ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
