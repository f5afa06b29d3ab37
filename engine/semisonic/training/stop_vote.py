"""How several ranks stop after the same step: they ask each other, over the host, where asking costs no wait for the
device, and every second or so only."""

import time
from typing import Any

import torch
import torch.distributed as dist

from semisonic.distributed.launcher import DEATHS
from semisonic.distributed.preemption import Preemption

EVERY = 1.0
"""Seconds between votes, about."""


class StopVote:
    """One rank's part in the votes of a `group`; None: there are no others, and what it says holds at once."""

    def __init__(self, group: Any):
        self.group = group
        self.begin(0)

    def begin(self, step: int) -> None:
        """The next vote is due after the first step from here."""
        self.next = self.last = step
        self.at = time.monotonic()

    def cast(self, step: int, reason: str | None, failed: bool) -> tuple[str | None, bool]:
        """Why to stop after this step, and whether anything failed, the same on every rank; (None, False) between
        votes."""
        if self.group is None:
            return reason, failed
        if step < self.next:
            return None, False
        codes = [None, "max_hours", *(number.name for number in Preemption.SIGNALS), *DEATHS.values()]
        now = time.monotonic()
        said = torch.tensor([codes.index(reason), now - self.at, failed], dtype=torch.float64)
        dist.all_reduce(said, dist.ReduceOp.MAX, group=self.group)
        code, seconds, failed_anywhere = said.tolist()
        # The next vote is due after as many steps as take about a second: the same number on every rank.
        pace = seconds / max(1, step - self.last)
        self.last, self.at = step, now
        self.next = step + max(1, min(100, int(EVERY / pace)))
        return codes[int(code)], bool(failed_anywhere)
