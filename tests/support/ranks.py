"""Ranks that are not there: a process group whose messages go nowhere, for graphs that hold messages."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextmanager
def fake_ranks(world: int) -> Iterator[None]:
    """Inside, this process is rank 0 of so many."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()
