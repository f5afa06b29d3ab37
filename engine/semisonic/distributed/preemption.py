"""Being asked to stop: signals of a scheduler, or a user's Ctrl-C, which the training answers between two steps."""

import signal
import threading
from types import FrameType
from typing import Any


class Preemption:
    """Turns SIGTERM, SIGUSR1 and a first Ctrl-C into a flag that the training loop reads between steps.

    Python gives signals to the main thread alone: in any other (a server's, a notebook's) they stay as they are.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[int, Any] = {}

    def _set(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._set) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
