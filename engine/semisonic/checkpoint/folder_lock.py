"""A lock on a folder: one process of all hosts holds it, and any death of that process releases it.

The file `.lock` in the folder names its holder, who also holds the file's `flock` and sets its time anew every few
seconds. So there are two answers to whether the holder still lives:

  flock      the kernel releases it at any death. Some network file systems have none, and others one for each host.
  the lease  a holder on this host is looked up. One on another host, or in another container where there is no
             `flock`, is watched for `EXPIRED` seconds: it lives where the file changes meanwhile. Clocks of two hosts
             are never compared.

Whoever takes a free folder, or one that a dead holder has left, first claims what it saw there: it gives its own file
the name `.lock-after-CONTENT`, which one process alone can do. Only that one may then rename its file to `.lock`, if
what it saw is there still. A claim whose maker has died is claimed in the same way. So never more than one renames, and
`.lock` appears with all in it.
"""

import errno
import fcntl
import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import NamedTuple

from semisonic.faults import reach
from semisonic.records import schemas
from semisonic.schema import UserError
from semisonic.stopping import raise_if_stopped
from semisonic.text import dump_json

LOCK = ".lock"
"""Name of the file; what begins with it and a dash is a claim, or half made."""
RENEWED, EXPIRED, LOOK = 5.0, 30.0, 0.5
"""Seconds between the renewals of a lease, after which a lease without one counts as given up, and between two looks at
that of another host."""
PATIENCE = 10.0
"""Seconds that the kernel may take to end a process that was killed, and a process to take a folder that it claims."""
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
NO_LINK = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EMLINK})
"""What `link` raises on file systems without it."""
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class FolderInUse(UserError):
    """Another process holds the lock of a folder: `holder`, where that is known."""

    holder: "Holder | None" = None


class Holder(NamedTuple):
    """A process that holds a lock."""

    host: str
    pid: int
    started: str
    """When it took the lock, by its own clock: for people."""
    boot: str
    """Names the running system."""
    numbers: str
    """Names the name space in which `pid` is a number: that of a container."""
    ticks: int
    """When the process started, by the kernel's clock: another process may get its number later."""
    token: str
    """Of this lock alone."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.started}"


class Alive(Enum):
    """Whether the process of a holder is there: dying while the kernel ends it, unknown for one of another host."""

    YES, NO, DYING, UNKNOWN = range(4)


class Look(NamedTuple):
    """What was seen of a lock."""

    content: bytes
    renewed: int
    """Its time, by the clock of the file system."""
    flocked: bool | None
    """Whether somebody holds its `flock`; None where the file system has none."""


_held: dict[str, "FolderLock"] = {}
"""The locks of this process, by their tokens."""


def locked_elsewhere(file: int, operation: int) -> bool | None:
    """Takes the `flock` of an open file, without waiting; returns whether somebody else has it.

    None where the file system has no such locks: there are many, and they say so in many ways.
    """
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def refuse_if_held(folder: Path) -> None:
    """Raises `FolderInUse` where a folder's lock is surely held. Touches nothing and does not wait."""
    try:
        seen = look(folder / LOCK)
    except OSError:
        return  # whoever takes the lock is told
    if seen:
        holder, state = _parse(seen.content), _alive(seen)
        if state is Alive.YES or (seen.flocked and state is not Alive.DYING):
            raise in_use(folder, holder)


def look(path: str | Path, folder: int | None = None) -> Look | None:
    """What is to be seen of a lock; None where there is none. folder: an open one that `path` is in.

    Opens the file each time, for which network file systems ask the server.
    """
    try:
        file = os.open(path, os.O_RDONLY, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        elsewhere = locked_elsewhere(file, fcntl.LOCK_SH)
        return Look(os.read(file, 4096), os.fstat(file).st_mtime_ns, elsewhere)
    finally:
        os.close(file)


def in_use(folder: Path, holder: Holder | None) -> FolderInUse:
    who = holder or "a process that its file .lock does not name"
    error = FolderInUse(
        f"out: another run is at work in {folder}: {who}; wait for its end or stop it, or choose another folder with "
        "--out"
    )
    error.holder = holder
    return error


class FolderLock:
    """The lock of a folder that is there, from its making to `release`.

    say: is told where the lock of another host has to be watched. Raises `FolderInUse` where another process, or
    another thread of this one, holds it, and `OSError` where the folder cannot be written.
    """

    def __init__(self, folder: Path, say: Callable[[str], object] = print):
        self.folder, self.say = folder, say
        self.holder = Holder(
            socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), *_machine(),
            _process(os.getpid())[1], uuid.uuid4().hex,
        )  # fmt: skip
        self._folder, self._file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), -1
        _held[self.holder.token] = self
        try:
            self._file = self._take()
        except BaseException:
            del _held[self.holder.token]
            os.close(self._folder)
            raise
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="folder lock", daemon=True)
        self._thread.start()

    def problem(self) -> str | None:
        """Why this process may not write into the folder any more: it was moved, removed, or taken over."""
        try:
            if not os.path.samestat(os.stat(self.folder), os.fstat(self._folder)):
                return self._moved()
            seen = look(LOCK, self._folder)
        except OSError as error:
            return self._moved() if error.errno in GONE else None  # what else is wrong, the write itself says
        if seen is None or (other := _parse(seen.content)) == self.holder:
            return None  # one that was removed is made again
        who = other or "another process"
        return f"out: {self.folder} was taken over by {who} while this run stood still, which ends here"

    def release(self) -> None:
        """Removes the lock, wherever its folder is by now."""
        if self.holder.pid != os.getpid():
            return  # a forked child, which never held it
        self._ended.set()
        self._thread.join()
        # Where it cannot be removed: the next process finds that its holder is none any more.
        with suppress(OSError):
            seen = look(LOCK, self._folder)
            if seen and _parse(seen.content) == self.holder:
                os.unlink(LOCK, dir_fd=self._folder)
        del _held[self.holder.token]
        os.close(self._file)
        os.close(self._folder)

    def _moved(self) -> str:
        end = "in the middle of the run, which ends here; it is not made anew"
        try:
            place = os.readlink(f"/proc/self/fd/{self._folder}")
        except OSError:
            return f"out: {self.folder} was moved or removed {end}"
        if not Path(place).is_dir():  # "... (deleted)"
            return f"out: {self.folder} was removed {end}"
        return f"out: {self.folder} was moved to {place} {end}; continue it there with --resume --out {place}"

    # Taking it.

    def _take(self) -> int:
        """The open file of the lock, held."""
        begin, own = time.monotonic(), f"{LOCK}-{self.holder.token}"
        file = os.open(own, NEW, 0o666, dir_fd=self._folder)
        try:
            self._fill(file)
            while not self._succeed(own, begin):
                pass
        except BaseException:
            os.close(file)
            self._remove(own)
            raise
        with suppress(OSError):  # what a process left that was killed while it took the lock is in nobody's way
            for name in os.listdir(self._folder):
                seen = look(name, self._folder) if name.startswith(f"{LOCK}-") else None
                if seen and _alive(seen) is Alive.NO:
                    self._remove(name)
        return file

    def _succeed(self, own: str, begin: float) -> bool:
        """Puts a file in the place of no lock, or of one whose holder is dead; False where it is to be tried again.

        begin: when the taking of the lock has begun. Raises `FolderInUse`.
        """
        before = look(LOCK, self._folder)
        if before and not self._left(LOCK, before, begin):
            return False
        claims = [_claim(before)]
        while not self._named(own, claims[-1]):
            seen = look(claims[-1], self._folder)
            if seen is None or not self._left(claims[-1], seen, begin):
                return False
            claims.append(_claim(seen))
        over = claims[-1:]  # while what was claimed is there, the claims of the dead are needed
        try:
            now = look(LOCK, self._folder)
            same = (now and now.content) == (before and before.content)
            if same:
                reach("lock.rename")
                os.rename(own, LOCK, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                reach("lock.taken")
            over = claims
            return same
        finally:
            for name in over:
                self._remove(name)

    def _named(self, own: str, claim: str) -> bool:
        """Gives a file the name of a claim; False where another has it."""
        try:
            os.link(own, claim, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            try:
                file = os.open(claim, NEW, 0o666, dir_fd=self._folder)  # seen by others before all is in it
            except FileExistsError:
                return False
            try:
                self._fill(file)
            finally:
                os.close(file)
        reach("lock.named")
        return True

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def _fill(self, file: int) -> None:
        for _ in range(20):
            if not locked_elsewhere(file, fcntl.LOCK_EX):  # another process may be looking at it for a moment
                break
            time.sleep(0.05)
        content = dump_json(self.holder._asdict()).encode()
        reach("lock.write", partial(os.write, file, content[: len(content) // 2]))
        os.write(file, content)
        reach("lock.fsync")
        os.fsync(file)

    def _left(self, name: str, seen: Look, begin: float) -> bool:
        """Whether the maker of a lock or claim is dead; False where that is to be looked at again."""
        holder, state = _parse(seen.content), _alive(seen)
        works = seen.flocked or state in (Alive.YES, Alive.DYING)
        passing = state is Alive.DYING or name != LOCK  # who claims is through in a moment
        if works and passing and time.monotonic() - begin < PATIENCE:
            time.sleep(0.02)
            return False
        if works:
            raise in_use(self.folder, holder)
        return state is not Alive.UNKNOWN or self._given_up(name, seen, holder)

    def _given_up(self, name: str, before: Look, holder: Holder | None) -> bool:
        """Whether a lock is not renewed for as long as that takes; raises `FolderInUse` where it is, and returns False
        where it is removed."""
        who = holder or "a process that it does not name"
        self.say(f"{self.folder} has the lock of {who}; waiting {EXPIRED:.0f} s to see whether it still works")
        begin = time.monotonic()
        while True:
            raise_if_stopped(LOOK)
            late = time.monotonic() - begin > EXPIRED
            now = look(name, self._folder)
            if now is None:
                return False
            if now != before:
                raise in_use(self.folder, _parse(now.content) or holder)
            if late:
                return True

    # Keeping it.

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            # A file system may be away for a moment, for which whoever watches waits; the next write says more.
            with suppress(OSError, FolderInUse):
                seen = look(LOCK, self._folder)
                if seen is None:  # somebody has removed it
                    before, self._file = self._file, self._take()
                    os.close(before)
                elif _parse(seen.content) == self.holder:
                    os.utime(LOCK, dir_fd=self._folder)


def _claim(seen: Look | None) -> str:
    """The name of the claim of what was seen of a lock."""
    content = seen.content if seen else b"nothing"
    return f"{LOCK}-after-{hashlib.blake2b(content, digest_size=16).hexdigest()}"


def _parse(content: bytes) -> Holder | None:
    try:
        found = schemas.lock(content)
    except UserError:
        return None  # half written, or by something else
    return Holder(**{name: found[name] for name in Holder._fields})


def _alive(seen: Look) -> Alive:
    holder, (boot, numbers) = _parse(seen.content), _machine()
    if holder is None or holder.boot != boot:
        return Alive.UNKNOWN
    if holder.numbers != numbers:  # of one kernel, which keeps the locks of all its containers
        return Alive.UNKNOWN if seen.flocked is None else Alive.YES if seen.flocked else Alive.NO
    state, ticks = _process(holder.pid)
    dead = ticks != holder.ticks or (holder.pid == os.getpid() and holder.token not in _held)
    if dead or state in "ZX":
        return Alive.DYING if seen.flocked or (not dead and _threads(holder.pid)) else Alive.NO
    return Alive.YES


def _machine() -> tuple[str, str]:
    """Names the running system and the name space of process numbers: the same in two processes that see each other."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")
    except OSError:
        return uuid.uuid4().hex, ""  # nothing can be looked up here: every holder is as one of another host


def _process(pid: int) -> tuple[str, int]:
    """The state of a process, and when it started, in the kernel's ticks since the system did; -1 where it is gone."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return state, int(rest[18])
    except OSError:
        return "", -1


def _threads(pid: int) -> bool:
    """Whether a dead process has threads that the kernel has not ended yet: they may be in the middle of a write."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _in_a_child() -> None:
    """A child process that is forked does not hold the locks: with its copies of the files they would outlive the
    parent."""
    for lock in _held.values():
        if lock._file >= 0:
            os.close(lock._file)
    _held.clear()


os.register_at_fork(after_in_child=_in_a_child)
