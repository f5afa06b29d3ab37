"""How users' mistakes are told: one line each, once among all ranks; and what this project warns of, one line too."""

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
