"""Of ranks that train together the one that dies is named."""

from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

from measure import Failed, Worker
from ranks import Group


def test_the_rank_that_dies_is_named_though_others_wait_for_it():
    workers, ends = [], []
    for rank in range(2):
        mine, theirs = Pipe()
        worker = Worker.__new__(Worker)
        worker.name, worker.connection = f"strong 2, rank {rank}", mine
        worker.process = SimpleNamespace(join=lambda seconds: None, exitcode=-9)
        workers.append(worker)
        ends.append(theirs)
    group = Group.__new__(Group)
    group.workers = workers
    ends[1].close()
    with pytest.raises(Failed, match=r"strong 2, rank 1: its process ended with exit code -9 .killed: out of memory"):
        group.measure("step", 0.0)
    assert ends[0].recv() == ("step", 0.0)
