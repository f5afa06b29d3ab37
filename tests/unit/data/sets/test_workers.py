"""Processes that check images: none outlives its parent, and a signal to all of them is the parent's to answer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from semisonic.distributed.processes import parent_of
from tests.support.image_folders import encoded
from tests.support.processes import Start

SCRIPT = """
import signal, sys
from pathlib import Path
from semisonic.data.sets import manifest
from semisonic.distributed.preemption import Preemption
from semisonic.schema import Stopped

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever these tests were started by
    try:
        with Preemption():
            print("begun", flush=True)
            manifest.scan(Path(sys.argv[1]), ["image.png"] * 100_000, workers=2)
    except Stopped as error:
        print(error)
        sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_no_worker_outlives_its_parent(tmp_path: Path, start: Start, number: signal.Signals):
    """Killed, when nothing of its own runs any more, or stopped by a signal that all processes of its group get."""
    (tmp_path / "image.png").write_bytes(encoded("RGB", "PNG"))
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = start(sys.executable, tmp_path / "script.py", tmp_path, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None and parent.stdout.readline() == "begun\n"
    wait_until(lambda: len(workers_of(parent.pid)) == 2)
    workers = workers_of(parent.pid)
    time.sleep(0.3)
    if number == signal.SIGKILL:
        parent.kill()
    else:
        os.killpg(parent.pid, number)
    printed = parent.communicate(timeout=20)[0]
    wait_until(lambda: not any(map(lives, workers)))
    if number != signal.SIGKILL:
        assert (parent.returncode, printed) == (75, f"stopped by {number.name} before anything was written\n")
        assert not list((tmp_path / ".semisonic").glob("*.npz*[!k]"))


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def workers_of(parent: int) -> list[int]:
    """Without Python's tracker of shared memory, which ends by itself."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            if parent_of(int(folder.name)) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
