"""Processes beside this one that check images: none outlives it, and signals are for this one alone."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from types import ModuleType

_OWN = {signal.SIGINT, signal.SIGUSR1, signal.SIGHUP}
"""Signals that reach all processes of a terminal or a job at once, and that this process answers for its workers."""


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes, which end with this one however it ends; at the end what has not begun is dropped.

    They are spawned: forking a process that may hold CUDA, NCCL or DALI threads is not safe.
    """
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_the_parent)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Processes that are started inside leave a Ctrl-C to this one, from their first moment on.

    Not SIGTERM, by which a pool ends its own. The tracker of Python's shared memory would unblock signals at its start.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OWN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main_module() -> Iterator[None]:
    """Processes that are spawned here do not run the main script again. They need nothing of it, and one that trains in
    its own lines, without `if __name__ == "__main__"`, would do so in each of them."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _end_with_the_parent() -> None:
    threading.Thread(target=_watch_the_parent, daemon=True).start()


def _watch_the_parent() -> None:
    # Its end closes a pipe. Not PR_SET_PDEATHSIG, which is sent when the parent's *thread* ends that started this one.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
