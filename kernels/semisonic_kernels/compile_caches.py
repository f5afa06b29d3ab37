"""Folders of compiled code that nobody else can write.

Inductor and Triton load what lies in theirs: they unpickle it, and run it. Torch's default, torchinductor_USER in the
folder of temporary files, is a name that anyone on the machine may take first, and fill.
"""

import atexit
import functools
import getpass
import grp
import os
import pwd
import re
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

INDUCTOR, TRITON, EXTENSIONS = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR"
MOST_LINKS = 40
"""Symbolic links in one path, as Linux follows them."""

_left: tuple[str | None, str | None] | None = None
"""The variables as the last call has left them."""


class UnsafeFolder(PermissionError):
    """A folder of compiled code that others can write, or this user cannot: one line that says what to do."""


def private_caches(compiles: bool = True) -> None:
    """Has this process, and those that it starts, keep compiled code where nobody else can write.

    A folder that the user has set stays; in place of others, such as torch sets by itself, comes `own_folder`.
    compiles: whether Inductor is about to be used: what it keeps in its default folder whatever the variable says, such
    as precompiled headers, then moves for the rest of the process. Raises `UnsafeFolder`. Costs nothing when repeated.
    """
    global _left
    if _left == _variables():
        return
    given = {name: folder for name in (INDUCTOR, TRITON) if (folder := _given(name)) is not None}
    for name, folder in given.items():
        _refuse(name, folder)
    inductor = given.get(INDUCTOR) or own_folder() / "inductor"
    triton = given.get(TRITON) or inductor / "triton"  # so torch has it too
    os.environ |= {INDUCTOR: str(inductor), TRITON: str(triton)}
    if compiles:
        _move_default(inductor)
        _left = _variables()


def private_extensions() -> None:
    """The same for torch's C++ extensions, such as DeepSpeed compiles.

    Torch's own folder for them stays where it is in the cache of the user, since they take minutes to compile.
    """
    given, cache = _given(EXTENSIONS), _user_cache()
    if given is not None:
        _refuse(EXTENSIONS, given)
    elif cache is None or _unusable(cache / "torch_extensions"):
        torch = metadata.version("torch")
        version = f"py{sys.version_info.major}{sys.version_info.minor}_torch{torch}"
        os.environ[EXTENSIONS] = str(own_folder() / "extensions" / version)


def own_folder() -> Path:
    """`semisonic/compiled` in the user's cache, for this user alone; without such a cache, a folder of this process.

    The second is removed when the process ends. Raises `UnsafeFolder` where the first is there and others can write it.
    """
    cache = _user_cache()
    if cache is None:
        return _temporary("neither XDG_CACHE_HOME nor HOME is set")
    folder = cache / "semisonic" / "compiled"
    there = os.path.lexists(folder)
    if there and (problem := unsafe(folder)):
        raise UnsafeFolder(f"compiled code: {problem}, or set {INDUCTOR} and {TRITON} to folders of your own")
    problem = _unusable(folder)
    return folder if problem is None else _temporary(problem)


def unsafe(folder: Path) -> str | None:
    """Why others can put files into a folder, or exchange it: what a message says of the one to blame. None if nobody
    can. Folders above it may be root's, and those that are sticky, as /tmp, may be anyone's to write.
    """
    me = os.geteuid()
    for path, status, last in _way(folder):
        mode, owner = status.st_mode, status.st_uid
        if owner != me and (last or owner not in _administrators()):
            return f"{path} belongs to {_user_name(owner)}, who can change what would run here; chown it"
        if stat.S_ISLNK(mode):
            continue
        by_group = bool(mode & stat.S_IWGRP) and not _of_one(status.st_gid, root=not last)
        if (by_group or mode & stat.S_IWOTH) and (last or not mode & stat.S_ISVTX):
            shared = bool(mode & stat.S_ISVTX)
            instead = f"make a folder of your own in {path}" if shared else f"chmod go-w {path}"
            return f"others can write {path}, and so change what would run here; {instead}"
    return None


def _variables() -> tuple[str | None, str | None]:
    return os.environ.get(INDUCTOR), os.environ.get(TRITON)


def _given(name: str) -> Path | None:
    """The folder in a variable of the user; None for none, and for one in torch's default folder, which torch has set,
    here or in a process that started this one."""
    folder = Path(os.path.abspath(os.environ.get(name) or _torch_default()))
    return None if folder.is_relative_to(_torch_default()) else folder


def _torch_default() -> Path:
    """As in torch/_inductor/runtime/cache_dir_utils.py, which takes a second to import."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid_{os.getuid()}"
    return Path(os.path.abspath(tempfile.gettempdir())) / ("torchinductor_" + re.sub(r'[\\/:*?"<>|]', "_", user))


def _user_cache() -> Path | None:
    home = os.environ.get("HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or (home and os.path.join(home, ".cache"))
    return Path(os.path.abspath(cache)) if cache else None


def _refuse(name: str, folder: Path) -> None:
    """Raises `UnsafeFolder` where the user's folder cannot be this user's alone."""
    if problem := _unusable(folder):
        raise UnsafeFolder(f"{name}: {problem}, or set {name} to another folder, or not at all")


def _unusable(folder: Path) -> str | None:
    """Why a folder, which this makes where it is not there, cannot be this user's alone; or None."""
    return unsafe(folder) or _make(folder) or unsafe(folder)


def _make(folder: Path) -> str | None:
    """Makes a folder, and those above it, for this user alone; returns why it cannot be made or written."""
    try:
        for path in reversed([folder, *folder.parents]):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            return f"{folder} is not a folder; remove it"
    except OSError as error:
        return f"{folder} cannot be made ({error.strerror}); make it"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written; chmod u+rwx {folder}"


@functools.cache
def _temporary(why: str) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="semisonic-compiled-"))
    except OSError as error:
        raise UnsafeFolder(f"compiled code: {why}, and no temporary folder can be made; set XDG_CACHE_HOME") from error
    if problem := unsafe(folder):
        folder.rmdir()
        raise UnsafeFolder(f"temporary files: {problem}, or set TMPDIR to another folder")
    atexit.register(_remove, folder, os.getpid())
    warnings.warn(f"compiled code is kept in {folder} until this process ends: {why}", stacklevel=4)
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in one that was forked
        shutil.rmtree(folder, ignore_errors=True)


def _way(folder: Path) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """All folders and links through which the system finds a folder, with lstat and whether it is the folder itself;
    up to the first that is not there."""
    here, todo, links = Path("/"), [*reversed(Path(os.path.abspath(folder)).parts[1:])], 0
    yield here, os.lstat(here), not todo
    while todo and links <= MOST_LINKS:
        above, part = here, todo.pop()
        here = above.parent if part == ".." else above / part
        try:
            status = os.lstat(here)
        except OSError:  # not there; or behind a folder that cannot be searched, which cannot be used either
            return
        is_link = stat.S_ISLNK(status.st_mode)
        yield here, status, not todo and not is_link
        if is_link:
            target = Path(os.readlink(here))
            here, links = Path("/") if target.is_absolute() else above, links + 1
            todo += reversed(target.parts[1:] if target.is_absolute() else target.parts)


@functools.cache
def _administrators() -> frozenset[int]:
    """The users that may own what lies above a folder of ours: root; in a user namespace also whoever has no number
    there, as root outside of it."""
    users = {0}
    try:
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            users.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    except OSError:
        pass  # there are no user namespaces
    return frozenset(users)


def _of_one(group: int, root: bool) -> bool:
    """Whether a group is that of this user alone, which systems with umask 002 give to each; or, with `root`, that of
    root."""
    if root and group == 0:
        return True
    try:
        user, name = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and name.gr_name == user.pw_name and set(name.gr_mem) <= {user.pw_name}


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _move_default(folder: Path) -> None:
    """Changes the default folder of Inductor, also where it has been read already."""
    from torch._inductor.runtime import cache_dir_utils, runtime_utils

    loaded: dict[str, Any] = dict(sys.modules)
    cache_dir_utils.default_cache_dir = runtime_utils.default_cache_dir = lambda: str(folder)
    codecache = loaded.get("torch._inductor.codecache")
    if codecache is not None:
        codecache.default_cache_dir = cache_dir_utils.default_cache_dir
        codecache._HEADER_DIR = str(folder / "precompiled_headers")
        codecache._HEADER_LOCK_DIR = str(folder / "precompiled_headers" / "locks")
        codecache.CacheBase.get_local_cache_path.cache_clear()
    memoizers = loaded.get("torch._inductor.runtime.caching.memoizers")
    if memoizers is not None:
        on_disk = type(memoizers.should_pad_memoizer._disk_cache)
        memoizers.should_pad_memoizer._disk_cache = on_disk("should_pad")
