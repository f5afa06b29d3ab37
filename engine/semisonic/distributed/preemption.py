"""Being asked to stop: signals of a scheduler, a user's Ctrl-C, a terminal that is closed, or the launcher's death. The
training answers between two steps, and what comes before it where it looks (`semisonic.stopping`).
"""

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Any

from semisonic.distributed.launcher import Launcher
from semisonic.stopping import heard


class Preemption:
    """Turns SIGTERM, SIGUSR1, SIGHUP and a first Ctrl-C into a flag that the training loop reads between steps.

    SIGHUP comes from a terminal that is closed, or from torchrun in one; where nohup has it ignored, it stays so.
    Python gives signals to the main thread alone: in any other (a server's, a notebook's) they stay as they are.
    launcher: what has started this process, watched by the caller.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)

    def __init__(self, launcher: Launcher | None = None) -> None:
        self._launcher = launcher
        self._signal: str | None = None
        self._before: dict[int, Any] = {}
        self._heard = ExitStack()

    @property
    def received(self) -> str | None:
        """Why to stop: a signal's name, or the launcher's death; None to go on."""
        return (self._launcher.death if self._launcher else None) or self._signal

    def _set(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._signal:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            taken = [number for number in self.SIGNALS if not (ignored and number == signal.SIGHUP)]
            self._before = {number: signal.signal(number, self._set) for number in taken}
        self._heard.enter_context(heard(lambda: self.received))
        return self

    def __exit__(self, *_: object) -> None:
        self._heard.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)
