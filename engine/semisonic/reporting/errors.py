"""How users' mistakes are told: one line each, once among all ranks; and what this project warns of, one line too."""

import errno
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semisonic.distributed.variables import rank
from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable

AFTER_MAIN = 1.0
"""Seconds that the other ranks wait at a mistake: torchrun kills all once one ends, even the one that prints."""

OURS = {"semisonic", "semisonic_kernels"}
"""Folders whose code warns users; where it does so tells them nothing."""

REFUSALS = frozenset(
    (
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE,
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE,
    )
)  # fmt: skip
"""What a system says of a path or file that it refuses. Not ENOENT, which may as well be a mistake of this program."""


class NotPrinted(UserError):
    """Where the output of a command, which is all that it makes, could not be written."""

    exit_code = ExitCode.ERROR


def report_error(error: UserError) -> ExitCode:
    """Prints one line per mistake, on the main process or on every one that it happens to; returns the exit code."""
    if rank() == 0 or error.everywhere:
        for message in error.messages:
            print(f"error: {message}", file=lasting(sys.stderr))
    else:
        time.sleep(AFTER_MAIN)
    return error.exit_code


@contextmanager
def refusals_told() -> Iterator[None]:
    """Inside, what the system refuses of a path or file that somebody named is a `UserError`, wherever it shows.

    The first look at a path may be any: with a name that is too long, or below a folder that is closed to this user,
    even asking whether it is there fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS or error.filename is None:
            raise
        raise UserError(f"{os.fsdecode(error.filename)}: {error.strerror}") from error


def check_working_folder() -> None:
    """Refuses a working directory that has been removed: relative paths lead nowhere, and libraries of torch cannot be
    loaded, of which they say something else."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the working directory is gone ({error.strerror}); change into a folder that is there"
        ) from error


@contextmanager
def short_warnings() -> Iterator[None]:
    """Within it a warning of this project is printed as one line, without the line of code that gave it."""
    whole = warnings.formatwarning

    def short(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if category is UserWarning and OURS.intersection(Path(filename).parts):
            return f"warning: {printable(message)}\n"
        return whole(message, category, filename, lineno, line)

    warnings.formatwarning = short
    try:
        yield
    finally:
        warnings.formatwarning = whole
