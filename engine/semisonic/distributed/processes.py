"""Another process of this host: when it ends, and how, also where it is no child of this one."""

import fcntl
import os
import select
import signal
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

PIDFD_GET_INFO, INFO_EXIT, INFO_BYTES = 0xC040FF0B, 1 << 3, 64
"""An ioctl of Linux 6.15 and later; the flag that asks how a process ended; bytes of the first `struct pidfd_info`."""
LOOK_EVERY = 0.2
"""Seconds between two looks where the kernel has no pidfd_open."""


def parent_of(process: int) -> int:
    """Raises OSError where the process has gone."""
    return int(_stat(process)[1])


def _stat(process: int) -> list[str]:
    """The fields of /proc/N/stat from the third on, which is the state; the second may hold anything."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


class Watched:
    """A process held by a descriptor, so that its number, which may be given anew, cannot come to mean another one.

    Raises OSError where there is no such process.
    """

    def __init__(self, number: int):
        self.number = number
        self._began = _stat(number)[19]
        self.descriptor: int | None = None
        try:
            self.descriptor = os.pidfd_open(number)
        except ProcessLookupError:
            raise
        except (OSError, AttributeError):
            pass  # an old kernel, or one that keeps pidfd_open from containers: looked at every now and then
        if not self._is_there():
            self.close()
            raise ProcessLookupError(f"process {number} has ended")

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, within so many seconds. One that nobody has waited for yet has ended, too."""
        if self.descriptor is not None:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLIN)
            return bool(poll.poll(1000 * seconds))
        end = time.monotonic() + seconds
        while self._lives():
            if time.monotonic() >= end:
                return False
            time.sleep(min(LOOK_EVERY, seconds))
        return True

    def _is_there(self) -> bool:
        """Whether its number is still its own: it lives, or nobody has waited for it yet."""
        try:
            return _stat(self.number)[19] == self._began
        except OSError:
            return False

    def _lives(self) -> bool:
        try:
            fields = _stat(self.number)
        except OSError:
            return False
        return fields[0] not in "ZX" and fields[19] == self._began

    def killed_by(self) -> str | None:
        """The name of the signal that has ended it; None where it ended by itself, lives, or nobody can say any more.

        Old kernels tell this only until its parent has waited for it, and only to its own user.
        """
        if self.descriptor is not None:
            buffer = bytearray(struct.pack("Q", INFO_EXIT).ljust(INFO_BYTES, b"\0"))
            try:
                fcntl.ioctl(self.descriptor, PIDFD_GET_INFO, buffer)
            except OSError:
                pass  # an older kernel
            else:
                if struct.unpack_from("Q", buffer)[0] & INFO_EXIT:
                    return _signal_of(struct.unpack_from("i", buffer, INFO_BYTES - 4)[0])
        try:
            fields = _stat(self.number)
        except OSError:
            return None
        return _signal_of(int(fields[49])) if fields[0] == "Z" and fields[19] == self._began else None

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def complain(text: str) -> None:
    """Writes to stderr itself, not through `sys.stderr`, whose lock a stuck thread may hold.

    Where nobody can read it any more, as in a terminal that is closed, what comes next must happen all the same.
    """
    with suppress(OSError):
        os.write(2, text.encode())


def end_with(number: int) -> None:
    """Has this process end, whatever it does, as soon as another one has. Watched by a thread."""

    def watch() -> None:
        try:
            process = Watched(number)
            while not process.ended(LOOK_EVERY):
                pass
        except OSError:
            pass  # it has gone already
        os._exit(1)

    threading.Thread(target=watch, name="end with another process", daemon=True).start()


def _signal_of(status: int) -> str | None:
    number = -os.waitstatus_to_exitcode(status)
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}") if number > 0 else None
