"""Predicting on several ranks: they agree on what to do, go their own ways, and wait for each other at the end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from semisonic.contract import Rank
from semisonic.distributed.rendezvous import check_launcher, join
from semisonic.schema import ExitCode, UserError

T = TypeVar("T")

JOIN_MINUTES = 10.0
LONGEST = timedelta(days=365)
"""That a rank waits for the others, which may have slower disks; one that dies is noticed at once."""


class RankLost(UserError):
    """Another rank has ended before its share was done."""

    exit_code = ExitCode.LOST


@dataclass(frozen=True)
class Ranks:
    """The ranks of a job, this one among them."""

    rank: Rank
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank.rank == 0

    def from_main(self, action: Callable[[], T]) -> T:
        """What `action` returns on rank 0, on every rank; a `UserError` there is raised on all of them."""
        outcome: list[Any] = [None, None]
        if self.main:
            try:
                outcome[0] = action()
            except UserError as error:
                outcome[1] = error
        if dist.is_initialized():
            with _told():
                dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def wait(self) -> None:
        """Until all ranks have come so far."""
        if dist.is_initialized():
            with _told():
                dist.barrier()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's, of a connection that is closed
        raise RankLost("another rank has ended before its share was done; --resume continues") from error


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks that the launcher has started, or this process alone; on a GPU each, where there are GPUs."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    check_launcher(kind)
    local = int(os.environ.get("LOCAL_RANK") or 0)
    device = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    stood = dist.is_initialized()
    join("gloo", JOIN_MINUTES, LONGEST)
    rank = Rank(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Rank(0, 1)
    ended = False
    try:
        yield Ranks(rank, device)
        ended = True
    finally:
        # After an error the others may be waiting in the group, and ending it would wait for them.
        if dist.is_initialized() and not stood and (ended or rank.world_size == 1):
            dist.destroy_process_group()
