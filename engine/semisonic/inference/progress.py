"""Progress of a prediction: a bar on a terminal, a line now and then elsewhere; images, rate, and time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from semisonic.reporting.output import lasting

EVERY = 10.0
"""Seconds between two lines."""


class Meter:
    """Counts the images of a rank, and prints where it stands."""

    def __init__(self, total: int, done: int, bar: Progress | None, console: Console):
        self.total, self.before, self.done = total, done, done
        """Of this rank: images in all, those that were there before, and those that are there."""
        self.bar, self.console = bar, console
        self.task = bar.add_task("", total=total, completed=done, note="") if bar else None
        self.begin = self.last = time.monotonic()

    def add(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.done, note=self.note(now))
        elif now - self.last >= EVERY:
            self.last = now
            self.console.print(f"{self.done:,}/{self.total:,} images  {self.note(now)}", highlight=False)

    def settle(self, images: int) -> None:
        """Images of a finished part that needed no prediction, because they cannot be used."""
        self.done += images

    def note(self, now: float) -> str:
        rate = (self.done - self.before) / max(now - self.begin, 1e-9)
        left = timedelta(seconds=round((self.total - self.done) / rate)) if rate else "unknown"
        return f"{rate:,.0f} images/s  ETA {left}"


@contextmanager
def metered(total: int, done: int, quiet: bool) -> Iterator[Meter]:
    """On standard error, so that standard output is for results."""
    console = Console(file=lasting(sys.stderr), quiet=quiet, soft_wrap=True)
    if quiet or not console.is_terminal:
        yield Meter(total, done, None, console)
        return
    with Progress(
        BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), console=console
    ) as bar:
        yield Meter(total, done, bar, console)
