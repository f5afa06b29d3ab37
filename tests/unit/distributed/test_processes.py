"""Another process's end is noticed, and what has ended it, also where it is a zombie or the kernel is an old one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from semisonic.distributed import processes
from semisonic.distributed.processes import Watched, parent_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen]:
    """A process that reads its standard input, and ends when it is closed."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(params=["pidfd", "proc"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without pidfd_open."""
    if request.param == "proc":

        def missing(number: int) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", missing)
    return request.param


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_process_tells_its_signal_before_its_parent_has_waited_for_it(
    kernel: str, child: subprocess.Popen, number: signal.Signals
):
    watched = Watched(child.pid)
    assert not watched.ended() and not watched.ended(0.01) and watched.killed_by() is None
    child.send_signal(number)
    assert watched.ended(20) and watched.killed_by() == number.name
    watched.close()


def test_one_that_ends_by_itself_was_killed_by_nothing(kernel: str, child: subprocess.Popen):
    watched = Watched(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    assert watched.ended(20) and watched.killed_by() is None
    child.wait()
    assert watched.ended() and watched.killed_by() is None


def test_a_number_that_was_given_anew_is_another_process(monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen):
    monkeypatch.delattr(os, "pidfd_open")
    watched, real = Watched(child.pid), processes._stat
    monkeypatch.setattr(processes, "_stat", lambda number: [*real(number)[:19], "1", *real(number)[20:]])
    assert watched.ended()


def test_one_that_goes_while_it_is_looked_for_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen
):
    opened, pidfd_open = [], os.pidfd_open

    def gone(number: int) -> list[str]:
        raise FileNotFoundError

    def opening(number: int) -> int:
        monkeypatch.setattr(processes, "_stat", gone)
        opened.append(pidfd_open(number))
        return opened[0]

    monkeypatch.setattr(os, "pidfd_open", opening)
    with pytest.raises(ProcessLookupError):
        Watched(child.pid)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_process_that_has_gone_cannot_be_watched():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    with pytest.raises(OSError):
        Watched(done.pid)
    assert parent_of(os.getpid()) == os.getppid()


def test_a_process_ends_with_another(child: subprocess.Popen):
    code = "import sys, time\nfrom semisonic.distributed.processes import end_with\nend_with(int(sys.argv[1]))\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(child.pid)]) as other:
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        child.kill()
        assert other.wait(20) == 1
    child.wait()
    with subprocess.Popen([sys.executable, "-c", code, str(child.pid)]) as late:
        assert late.wait(20) == 1
