"""The other ranks of this host: which processes they are, and which signal has killed one.

Over a connection a rank that was killed only falls silent. On its host more can be known: which signal it was, at once,
though only its parent, the launcher, is told.
"""

import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path

from semisonic.distributed.processes import LOOK_EVERY, Watched, parent_of

ORDERLY = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
"""Signals that ask for an end: a rank that dies of one is not told as killed."""


def local_ranks() -> dict[int, int]:
    """The processes of the job's other ranks that this rank's launcher has started on this machine, by rank."""
    own = {f"{name}={os.environ.get(name)}".encode() for name in ("MASTER_ADDR", "MASTER_PORT")}
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        number = int(folder.name)
        try:
            environment = (folder / "environ").read_bytes().split(b"\0") if parent_of(number) == os.getppid() else []
        except OSError:
            continue  # it has ended meanwhile, or is none of ours
        ranks = [word[5:] for word in environment if word.startswith(b"RANK=")]
        if own <= set(environment) and number != os.getpid() and ranks and ranks[0].isdigit():
            found[int(ranks[0])] = number
    return found


def kill_local_ranks(ranks: list[int]) -> None:
    """Kills those of the ranks that stand still on this machine, which a launcher does only half a minute later."""
    for rank, number in local_ranks().items():
        if rank in ranks:
            with suppress(OSError):  # it has ended meanwhile
                os.kill(number, signal.SIGKILL)


class Siblings:
    """Watches the other ranks of this host in a thread of its own, which is there when one ends.

    It must be: before Linux 6.15 the launcher's next look, a tenth of a second later, takes the signal away.
    """

    def __init__(self) -> None:
        self.killed: dict[int, str] = {}
        """The ranks that were killed, and the signal's name."""
        self.ranks: list[int] = []
        """All that are watched."""
        self._watched: dict[int, Watched] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="siblings", daemon=True)

    def start(self) -> None:
        """Looks for the ranks of this host, all of which must have come, and watches them from now on."""
        for rank, number in local_ranks().items():
            with suppress(OSError):  # one that has gone already is found as any lost rank
                self._watched[rank] = Watched(number)
        self.ranks = sorted(self._watched)
        if self._watched:
            self._thread.start()

    def stop(self) -> None:
        """Watches no more; the thread ends at its next look."""
        self._over.set()

    def _run(self) -> None:
        poll = select.poll()
        for watched in self._watched.values():
            if watched.descriptor is not None:
                poll.register(watched.descriptor, select.POLLIN)
        while self._watched and not self._over.is_set():
            poll.poll(1000 * LOOK_EVERY)
            for rank in [rank for rank, watched in self._watched.items() if watched.ended()]:
                watched = self._watched.pop(rank)
                by = watched.killed_by()
                if by is not None and by not in ORDERLY:
                    self.killed[rank] = by
                if watched.descriptor is not None:
                    poll.unregister(watched.descriptor)
                watched.close()
        for watched in self._watched.values():
            watched.close()
