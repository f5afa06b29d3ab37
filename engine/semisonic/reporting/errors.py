"""How users' mistakes are told: one line each, once among all ranks."""

import os
import sys
import time

from semisonic.reporting.output import lasting
from semisonic.schema import ExitCode, UserError

MAIN = int(os.environ.get("RANK", "0")) == 0
AFTER_MAIN = 1.0
"""Seconds that the other ranks wait at a mistake: torchrun kills all once one ends, even the one that prints."""


def report_error(error: UserError) -> ExitCode:
    """Prints one line per mistake, on the main process or on every one that it happens to; returns the exit code."""
    if MAIN or error.everywhere:
        for message in error.messages:
            print(f"error: {message}", file=lasting(sys.stderr))
    else:
        time.sleep(AFTER_MAIN)
    return error.exit_code
