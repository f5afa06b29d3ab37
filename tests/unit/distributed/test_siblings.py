"""The ranks of this host: found, watched, and killed where they stand still."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from semisonic.distributed import siblings
from semisonic.distributed.siblings import Siblings, kill_local_ranks, local_ranks


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen]]:
    """Ranks 1 and 2 of a job, and rank 1 of another. Ranks are each other's siblings: here they are children of this
    process, which asks as one of them."""
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(siblings.os, "getppid", os.getpid)
    jobs = [job | {"RANK": "1"}, job | {"RANK": "2"}, job | {"RANK": "1", "MASTER_PORT": "2"}]
    ranks = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=env) for env in jobs]
    yield ranks
    for rank in ranks:
        rank.kill()
        rank.wait()


def test_only_the_named_rank_of_the_same_job_is_killed(children: list[subprocess.Popen]):
    assert local_ranks() == {1: children[0].pid, 2: children[1].pid}
    children[0].send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    kill_local_ranks([1])
    assert children[0].wait(10) == -signal.SIGKILL
    assert [child.poll() for child in children[1:]] == [None, None]


@pytest.mark.parametrize(("number", "told"), [(signal.SIGKILL, {1: "SIGKILL"}), (signal.SIGTERM, {})])
def test_the_signal_that_kills_a_rank_is_known(children: list[subprocess.Popen], number: signal.Signals, told: dict):
    watching = Siblings()
    watching.start()
    assert watching.ranks == [1, 2] and not watching.killed
    children[0].send_signal(number)
    end = time.monotonic() + 20
    while 1 in watching._watched and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert watching.killed == told
    watching.stop()
    watching._thread.join(20)
    assert not watching._thread.is_alive()
