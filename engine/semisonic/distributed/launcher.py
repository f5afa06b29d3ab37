"""The launcher that has started this process, torchrun's agent or `accelerate launch`, and its death.

A rank without its launcher is one that nobody ends, restarts or waits for: `accelerate launch` passes no signal on, and
nobody can where it is killed. So the rank ends as at SIGTERM, with a checkpoint. Any other parent may go: a run under
nohup, setsid or a closed shell goes on.
"""

import os
import signal
import threading
from pathlib import Path

from semisonic.distributed.processes import Watched, complain

PROGRAMS = {
    "torchrun": "torchrun", "torch.distributed.run": "torchrun", "torch.distributed.launch": "torchrun",
    "accelerate": "accelerate", "accelerate-launch": "accelerate",
    "accelerate.commands.launch": "accelerate", "accelerate.commands.accelerate_cli": "accelerate",
}  # fmt: skip
"""Launchers by what Python runs them as: a script's name, or a module after -m."""
VARIABLES = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
"""One of these is in the environment of all that they start."""
DEATHS = {name: f"the death of its launcher {name}" for name in dict.fromkeys(PROGRAMS.values())}
"""Why a run was stopped, by launcher."""
LOOK_EVERY = 0.5


def program(command: list[str]) -> str | None:
    """What a command line has Python run: the name of a script, or a module after -m. None where it is no Python's."""
    if not command or not Path(command[0]).name.startswith(("python", "pypy")):
        return None
    rest = iter(command[1:])
    for word in rest:
        if word == "-m":
            return next(rest, None)
        if word == "-c":
            return None
        if word in ("-X", "-W"):
            next(rest, None)
        elif not word.startswith("-"):
            return Path(word).name
    return None


def _find() -> tuple[int, str] | None:
    """The process that has started this one, and its name, where it is a launcher.

    The variables alone prove nothing, for a shell may have exported them: so the parent itself is looked at.
    """
    if not any(name in os.environ for name in VARIABLES):
        return None
    parent = os.getppid()
    try:
        command = Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    name = PROGRAMS.get(program(command) or "")
    return (parent, name) if name and os.getppid() == parent else None


_FOUND = (os.getpid(), _find())
"""Looked for at import, which comes before torch's, and kept with the process that it holds for: a launcher that dies
in the seconds until a run begins is known then. One that dies in the first tenths of a second is taken for none here;
ranks that then find nobody at torchrun's store end in `rendezvous.join`."""


class Launcher:
    """The launcher of this process, if there is one, watched inside the context by a thread.

    Once it is dead, `death` says so, and this process gets a SIGTERM: that ends it in order where `Preemption` takes
    it, and at once where nothing has begun yet. In another thread than the main one only `death` tells.
    """

    def __init__(self) -> None:
        process, found = _FOUND
        if process != os.getpid():  # a fork's
            found = _find()
        self.death: str | None = None
        self._number, self._name = found or (0, "")
        self._process: Watched | None = None
        self._over = threading.Event()
        self._signals = threading.current_thread() is threading.main_thread()
        self._thread = threading.Thread(target=self._watch, name="launcher", daemon=True)

    def __enter__(self) -> "Launcher":
        if self._name:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # not waited for: the thread sees it at its next look, and does nothing more

    def _watch(self) -> None:
        try:
            process = Watched(self._number)
        except OSError:
            self._tell()
            return
        # Since this process was its child all the time, the number cannot have been another's.
        gone = os.getppid() != self._number
        while not gone and not self._over.is_set():
            gone = process.ended(LOOK_EVERY)
        process.close()
        if gone:
            self._tell()

    def _tell(self) -> None:
        self.death = DEATHS[self._name]
        if not self._signals or self._over.is_set():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            complain(f"error: stopped by {self.death} before anything was written\n")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
