"""A function over many files, by processes where that pays, with progress, rate and time left."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from typing import TypeVar

from semisonic.cpus import usable_cpus
from semisonic.data.sets.workers import pool, signals_kept, without_main_module
from semisonic.reporting.output import lasting
from semisonic.schema import UserError

T = TypeVar("T")

PROCESSES_FROM = 512
"""Files; below it, starting processes costs more than it saves."""
SHOWN_FROM = 2.0
"""Seconds after which progress is shown."""
LINE_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


def over_files(
    function: Callable[[str], T], paths: Sequence[str], what: str, workers: int | None = None
) -> Iterator[T]:
    """What `function` returns for each of the paths, in their order.

    what: what is being done, for the progress on stderr. workers: processes; None = one per CPU of this process; 1 = in
    this process. `function` is to be importable, and not to raise. Raises UserError where a process dies.
    """
    workers = workers or usable_cpus()
    progress = Progress(what, len(paths))
    if workers == 1 or len(paths) < PROCESSES_FROM:
        yield from progress.over(map(function, paths))
        return
    try:
        with pool(workers) as executor:
            with without_main_module(), signals_kept():
                results = executor.map(function, paths, chunksize=64)
            yield from progress.over(results)
    except BrokenProcessPool as error:
        raise UserError(
            "data.workers: a process that looks at images died (out of memory?); try fewer, or 1 for none"
        ) from error


class Progress:
    """Says on stderr how many files of how many are done, how fast, and how long it will take: a line that is written
    over on a terminal, one every ten seconds elsewhere, and nothing where all is done at once."""

    def __init__(self, what: str, total: int):
        self.what, self.total = what, total
        self.begin = self.shown = time.monotonic()
        self.file = lasting(sys.stderr)
        self.terminal = self.file.isatty()
        self.width = 0

    def over(self, results: Iterator[T]) -> Iterator[T]:
        try:
            for done, result in enumerate(results, 1):
                yield result
                self._seen(done)
        finally:
            if self.width:
                print(f"\r{' ' * self.width}\r", end="", file=self.file, flush=True)

    def _seen(self, done: int) -> None:
        now = time.monotonic()
        wait = 0.2 if self.terminal else LINE_EVERY
        if now - self.begin < SHOWN_FROM or now - self.shown < wait or done == self.total:
            return
        self.shown = now
        line = self.line(done, now - self.begin)
        if not self.terminal:
            print(line, file=self.file, flush=True)
            return
        line = line[: shutil.get_terminal_size().columns - 1]
        print(f"\r{line:<{self.width}}", end="", file=self.file, flush=True)
        self.width = max(self.width, len(line))

    def line(self, done: int, seconds: float) -> str:
        rate = done / seconds
        left = timedelta(seconds=round((self.total - done) / rate))
        return f"{self.what}: {done:,} of {self.total:,} ({done / self.total:.0%}), {rate:,.0f} files/s, ETA {left}"
