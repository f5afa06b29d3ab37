"""How files that are to be predicted are read and checked.

The processes that check them load this file: it imports neither torch nor DALI.
"""

from dataclasses import dataclass

from semisonic.data.sets import manifest
from semisonic.data.sets.limits import USUAL, Limits


@dataclass(frozen=True)
class Reading:
    """How files are read and checked."""

    workers: int | None = None
    """Processes; None = one for each CPU of this process, where the files are many; 1 = none."""
    limits: Limits = USUAL

    def examine(self, path: str) -> manifest.Examined:
        """What is found in a file; never raises."""
        found = manifest.examine(path, limits=self.limits)
        assert found is not None  # without a known digest
        return found._replace(reason=_by_option(found.reason)) if found.reason else found


AS_USUAL = Reading()


def _by_option(reason: str) -> str:
    return reason.replace("data.max_file_mb=", "--max-file-mb ").replace("data.max_pixels=", "--max-pixels ")
