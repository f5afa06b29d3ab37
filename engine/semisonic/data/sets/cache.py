"""Where data, manifests and trials that have passed are kept, and how processes of a machine take turns in writing."""

import fcntl
import functools
import hashlib
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from semisonic.checkpoint.folder_lock import FolderInUse, FolderLock
from semisonic.schema import UserError
from semisonic.stopping import raise_if_stopped


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/semisonic`, or `~/.cache/semisonic`; not created here."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semisonic"
    except RuntimeError as error:  # as in a container whose user has no name
        raise UserError("data.root: this user has no home folder to keep data in; name one, or set HOME") from error


def trials_folder() -> Path | None:
    """Where a run notes that its first step works; None for a user without a home folder."""
    try:
        return cache_folder() / "trials"
    except UserError:
        return None


def manifest_files(root: Path, write_inside: bool = True) -> tuple[Path, Path | None]:
    """Where to read and where to write the manifest of the image folder `root`.

    The first is inside the folder; the second is the same where that can be written and may be, else in the user's
    cache; None where nothing can be written there either.
    """
    inside = root / ".semisonic" / "manifest.npz"
    try:
        if write_inside:
            inside.parent.mkdir(exist_ok=True)
            if os.access(inside.parent, os.W_OK):
                return inside, inside
    except OSError:
        pass  # a read-only data folder is normal, and the cache below serves it
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    try:
        file = cache_folder() / "manifests" / f"{name}.npz"
        with _lock_file(file):
            return inside, file
    except (OSError, UserError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this user has no home folder"
        _say_once(
            f"what is known of the images in {root} cannot be kept, and they are all read again each time: {reason}; "
            "set XDG_CACHE_HOME to a folder of your own"
        )
        return inside, None


@functools.cache
def _say_once(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def _lock_file(file: Path) -> IO[str]:
    file.parent.mkdir(parents=True, exist_ok=True)
    return open(file.with_name(file.name + ".lock"), "w")


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock named after `file`: of several ranks one works, the others find its result.

    Where the file system has no locks, a lease on the folder of `file` is one. Raises OSError where that cannot be
    written, and `Stopped` where that comes first.
    """
    with _lock_file(file) as handle:
        lease: AbstractContextManager[None] = nullcontext()
        try:
            while not _taken(handle.fileno()):
                raise_if_stopped()
                time.sleep(0.05)
        except OSError:
            lease = leased(file.parent)
        with lease:
            yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def leased(folder: Path) -> Iterator[None]:
    """Hold the lease on a folder, which others wait for."""
    while True:
        try:
            lock = FolderLock(folder, lambda line: print(line, file=sys.stderr))
            break
        except FolderInUse:
            raise_if_stopped()
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()
