"""Processes that tests start, of which none outlives its test."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(path: Path, process: subprocess.Popen, seconds: float = 200) -> None:
    """Waits until a file is there, which a process that still runs makes."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, f"the process ended with {process.returncode} before there was {path}"
        assert time.monotonic() < deadline, f"there is no {path} after {seconds} s"
        time.sleep(0.01)


def processes_of(folder: Path) -> list[int]:
    """The processes whose command lines name a folder or what is in it; torchrun's workers have their own sessions."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            if f"{folder}/".encode() in (entry / "cmdline").read_bytes().replace(b"\0", b"/"):
                found.append(int(entry.name))
    return [process for process in found if process != os.getpid()]


Start = Callable[..., subprocess.Popen]


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Gives a function that starts a command; at the end, all that it has started or that names the folder is killed.

    A command runs at the root of the repository, in a session of its own; what it prints goes through one pipe.
    """
    started: list[subprocess.Popen] = []

    def start(*command: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen:
        plain = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = (os.environ if env is None else env) | {"OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen([*map(str, command)], env=environment, start_new_session=True, **(plain | options))  # type: ignore[call-overload]
        )
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        deadline = time.monotonic() + 20
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            for number in left:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.01)


Run = Callable[..., subprocess.CompletedProcess]


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory, of a size such as 1m, at a folder that it makes; skips where mounting is not allowed."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)  # even if a failed test left something open
