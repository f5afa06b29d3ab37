"""Being asked to stop before the training begins, where nothing reads the flag between two steps.

Whoever takes signals says here why a run is to stop; what takes long, such as the scan of a folder of images, looks
here. Nothing is interrupted in the middle: a scan that is left has written nothing, and its lock is free.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from semisonic.schema import Interrupted, Stopped

T = TypeVar("T")

_reasons: list[Callable[[], str | None]] = []


@contextmanager
def heard(reason: Callable[[], str | None]) -> Iterator[None]:
    """Inside, `raise_if_stopped` asks `reason` why to stop: a signal's name, or what has died; None to go on."""
    _reasons.append(reason)
    try:
        yield
    finally:
        _reasons.remove(reason)


def raise_if_stopped(patience: float = 0.0) -> None:
    """Raises `Stopped` where the process has been asked to stop, or is within so many seconds."""
    end = time.monotonic() + patience
    while True:
        for ask in _reasons:
            if reason := ask():
                kind = Interrupted if reason == "SIGINT" else Stopped
                raise kind(f"stopped by {reason} before anything was written")
        if time.monotonic() >= end:
            return
        time.sleep(0.02)


def until_stopped(items: Iterable[T]) -> Iterator[T]:
    """The items; raises `Stopped` between two of them."""
    for item in items:
        raise_if_stopped()
        yield item
