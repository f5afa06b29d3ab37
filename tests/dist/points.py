"""One training process of the torture test: the real command line, killed at a chosen write, sync, rename or removal.

A point is a call of the system that changes a file of the run, named by what it does, to which file, and from where:
"replace checkpoints/.latest.tmp -> checkpoints/latest in _write<save<_work". Numbers in names are N.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CALLS = ("write", "ftruncate", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Kill:
    """Where a process kills itself: at the `count`-th call of a point, before it or (a write) when half is written."""

    point: str
    count: int
    half: bool = False


@dataclass(frozen=True)
class Job:
    """One process: `launch/train.py ARGS` as rank `rank` of `world`; its output goes to `log`."""

    args: tuple[str, ...]
    folder: Path
    log: Path
    rank: int = 0
    world: int = 1
    port: int = 0
    kill: Kill | None = None
    record: Path | None = None
    """A file for the names of all points that are passed, one a line."""


def place(call: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """The file or files that a call changes."""
    if call in ("write", "ftruncate", "fsync"):
        return os.readlink(f"/proc/self/fd/{args[0]}")
    below = keywords.get("dir_fd")
    folder = os.readlink(f"/proc/self/fd/{below}") if below is not None else ""
    names = args[:2] if call in ("rename", "replace") else args[:1]
    return " -> ".join(os.path.join(folder, os.fspath(name)) for name in names)


def origin() -> str:
    """The functions of the engine that lead to a call, innermost first."""
    frame, names = sys._getframe(2), []
    while frame is not None:
        if "/semisonic/" in frame.f_code.co_filename and not frame.f_code.co_name.startswith("<"):
            names.append(frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return "<".join(names[:4])


def watch(job: Job) -> None:
    """Has this process record its points and kill itself at the job's."""
    counts: dict[str, int] = {}
    below = f"{job.folder}/"
    record = os.open(job.record, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if job.record else None
    write = os.write

    def wrap(call: str, function: Callable) -> Callable:
        def wrapper(*args: Any, **keywords: Any) -> Any:
            where = place(call, args, keywords)
            if below not in where + "/":
                return function(*args, **keywords)
            short = re.sub(r"[0-9]+", "N", where.replace(below, "").replace(str(job.folder), "RUN"))
            name = f"{call} {short} in {origin()}"
            counts[name] = counts.get(name, 0) + 1
            if record is not None:
                write(record, f"{name}\n".encode())
            if job.kill and name == job.kill.point and counts[name] == job.kill.count:
                if job.kill.half:
                    write(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **keywords)

        return wrapper

    for call in CALLS:
        setattr(os, call, wrap(call, getattr(os, call)))


def train(job: Job) -> None:
    """The process's whole life."""
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    if job.world > 1:
        os.environ |= {
            "RANK": str(job.rank), "LOCAL_RANK": str(job.rank), "WORLD_SIZE": str(job.world),
            "LOCAL_WORLD_SIZE": str(job.world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job.port),
        }  # fmt: skip
    watch(job)
    from semisonic.cli import main

    sys.exit(main(job.args))
