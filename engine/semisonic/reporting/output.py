"""What people see may find no place: a terminal is closed, the other end of a pipe has gone, a log's disk is full, or
there was no output from the start. What a command does goes on.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

GONE = (errno.EIO, errno.EPIPE)
"""What a write to a closed terminal and to a pipe without a reader fails with: nobody wants to know more."""


def lasting(file: IO[str] | None) -> IO[str]:
    """The file for what is printed beside the work, and kept elsewhere: from the first write on that fails, all that
    comes for its descriptor is dropped. Where that is no reader that has gone, stderr says so.

    file: sys.stdout or sys.stderr; None, as Python has them where their descriptors were closed.
    """
    kept = file if isinstance(file, _Lasting) else _Lasting(file)
    kept.beside = True
    return cast(IO[str], kept)


def printed_beside() -> None:
    """Says that what the command prints from here on is no result of it: what it makes is in files."""
    if isinstance(sys.stdout, _Lasting):
        sys.stdout.beside = True


@contextmanager
def lasting_streams() -> Iterator[IO[str]]:
    """Around a command: stdout and stderr take all that is printed, whatever becomes of them. Gives stdout."""
    if isinstance(sys.stdout, _Lasting):  # a command inside of another one
        yield cast(IO[str], sys.stdout)
        return
    _open_closed()
    show_everything()
    before = sys.stdout, sys.stderr
    out, err = _Lasting(sys.stdout), _Lasting(sys.stderr)
    sys.stdout, sys.stderr = cast(IO[str], out), cast(IO[str], err)
    try:
        yield sys.stdout
    finally:
        for stream in (out, err):
            stream.flush()  # here, not when the process ends, where it would be an error
        sys.stdout, sys.stderr = before


def unprinted(out: IO[str]) -> str | None:
    """Why what a command printed is not whole; None where it is, where it is kept elsewhere, or where a reader wanted
    no more. out: what `lasting_streams` gave."""
    out.flush()
    stream = cast(_Lasting, out)
    return None if stream.beside or stream.lost is None or stream.lost.errno in GONE else str(stream.lost.strerror)


def _open_closed() -> None:
    """Has the first three descriptors be nowhere where they were closed: else they would be those of the next files
    that are opened, and what libraries print would be written there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


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
    def __init__(self, file: IO[str] | None):
        self._file = file if file is not None else _nowhere()
        self.beside = False
        """Whether what is printed is kept elsewhere, or is all that there is."""
        self.lost: OSError | None = None
        """What the first write failed with that did."""

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except UnicodeEncodeError:
            return self.write(encodable(text, getattr(self._file, "encoding", None)))
        except OSError as error:
            self._drop(error)
        except ValueError:  # somebody has closed it
            self._file = _nowhere()
        return len(text)

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._drop(error)
        except ValueError:
            self._file = _nowhere()

    def _drop(self, error: OSError) -> None:
        self.lost = self.lost or error
        try:
            # The descriptor itself, so that what is buffered does not fail again when the process ends.
            with _nowhere() as nowhere:
                os.dup2(nowhere.fileno(), self._file.fileno())
        except (OSError, AttributeError):  # what a notebook or a test prints to has none
            self._file = _nowhere()
        if self.beside and error.errno not in GONE and sys.stderr not in (self, None):
            print(f"warning: what is printed is lost from here on: {error.strerror}", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _nowhere() -> IO[str]:
    return open(os.devnull, "w")
