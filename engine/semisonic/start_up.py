"""How long a run's start takes, by its phases: imports, data, the trial of a step, pipelines, the first step, ...

A phase ends where it is marked, and the next one begins there. After the first step a mark does nothing; what comes
once later, as the writing of the first checkpoint, is timed by itself. Times are the host's: nothing here waits for a
GPU.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

STAT = Path("/proc/self/stat")
PROCESS, IMPORTS, CONFIGURATION, RANKS, DATA, TRIAL, FOLDER, NETWORK, PIPELINES, BATCH, STEP, CHECKPOINT = (
    "process", "imports", "configuration", "ranks", "data", "trial step", "run folder", "network", "pipelines",
    "first batch", "first step", "first checkpoint",
)  # fmt: skip


class Took(NamedTuple):
    """Of a phase, in seconds."""

    seconds: float
    """By the clock."""
    cpu_seconds: float
    """Of all threads of the process together."""

    def __sub__(self, other: "Took") -> "Took":
        return Took(self.seconds - other.seconds, self.cpu_seconds - other.cpu_seconds)


def _now() -> Took:
    return Took(time.perf_counter(), time.process_time())


class StartClock:
    """Of one run. `phases` are in the order in which they ended first; what is marked twice adds up."""

    def __init__(self, of_process: bool = False):
        """of_process: what the process has taken so far is a phase of the start."""
        self.phases: dict[str, Took] = {}
        self.going = True
        self._last = _now()
        if of_process:
            self.phases[PROCESS] = Took(process_age(), self._last.cpu_seconds)

    def mark(self, phase: str, last: bool = False) -> None:
        """The end of a phase; last: and of the start."""
        if self.going:
            now = _now()
            before = self.phases.get(phase, Took(0.0, 0.0))
            self.phases[phase] = now - (self._last - before)
            self._last, self.going = now, not last

    def leave_out(self) -> None:
        """What has passed since the last mark is no part of the start."""
        self._last = _now()

    @contextmanager
    def once(self, phase: str) -> Iterator[None]:
        """Times what is inside, the first time that it comes after the start."""
        begin = None if self.going or phase in self.phases else _now()
        yield
        if begin is not None:
            self.phases[phase] = _now() - begin

    @property
    def seconds(self) -> float:
        """Of all phases so far."""
        return sum(took.seconds for took in self.phases.values())

    def report(self) -> dict[str, dict[str, float]]:
        """As a summary has it."""
        return {
            phase: {name: round(value, 3) for name, value in took._asdict().items()}
            for phase, took in self.phases.items()
        }


_clock = StartClock()


def begin(clock: StartClock | None = None) -> None:
    """The start of a run: from here on marks are its own. clock: one that has been running since the process began."""
    global _clock
    _clock = clock or StartClock()


def clock() -> StartClock:
    """Of the run that began last in this process."""
    return _clock


def mark(phase: str, last: bool = False) -> None:
    """`StartClock.mark` of the run that began last."""
    _clock.mark(phase, last)


def once(phase: str) -> AbstractContextManager[None]:
    """`StartClock.once` of the run that began last."""
    return _clock.once(phase)


def process_age() -> float:
    """Seconds since this process was started, to a hundredth; 0 where the system does not say."""
    try:
        ticks = int(STAT.read_text().rpartition(")")[2].split()[19])  # field 22, counted behind the name
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):  # another kernel than Linux
        return 0.0
