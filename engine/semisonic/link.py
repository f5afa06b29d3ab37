"""What the ranks tell each other about their health, over a store of their own and in a thread of their own.

Every rank says about once a second that it lives and where its training loop stands. Rank 0, which serves the store,
reads all of that with one request; the others read what rank 0 says of itself, and the verdict, which is given once.
Whoever calls the store can be stuck in it for ever where rank 0 stands still, so nothing here decides anything: the
watch (`health.py`) looks at what was heard last, and when.
"""

import json
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist

NONE, TOLD, VERDICT = "none", "told", "verdict"
HURRY = 0.05
"""Seconds between exchanges once the job ends."""


class Beat(NamedTuple):
    """A sign of life of a rank."""

    number: int
    step: int
    phase: str
    turns: int
    """How often its main thread has gone on; the same sequence on every rank."""
    stalled: float
    """Seconds since it last did."""
    suspects: bool = False
    """A collective has failed here: some rank has gone."""
    left: bool = False
    """It needs the store no more: its run is over, or it knows that the verdict has been reported."""


class Verdict(NamedTuple):
    """Why the job ends; the first one given stands."""

    kind: str
    """lost: a rank does not answer; stuck: it makes no progress; raised: it raised an error."""
    rank: int
    step: int
    phase: str
    lines: list[str]
    """What people read, one mistake a line."""
    reason: str
    """What status.json says."""
    code: int
    """The exit code of every rank."""
    trace: str = ""
    agreed: bool = False
    """All ranks raised it."""
    ranks: list[int] = []
    """All that are lost or stuck."""


FIRST = Beat(0, 0, "starting up", 0, 0.0)


class Link:
    """One rank's side of the store.

    beat(number): what to say next. interval: seconds between exchanges. patience: the longest that a request may take.
    Every rank must make its link at the same time. `verdict`, `told` (the verdict has been reported), `beats` (what
    was heard last, by rank), `exchanges` (how many succeeded), `broken` (rank 0's store has gone) and `over`
    (it was left in order) are only read elsewhere.
    """

    def __init__(self, beat: Callable[[int], Beat], interval: float, patience: float):
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._beat, self.interval = beat, interval
        self.verdict: Verdict | None = None
        self.told = self.broken = self.over = False
        self.exchanges = 0
        self.beats = dict.fromkeys(self._read(), FIRST)
        self._post: str | None = None
        self._tell = self._leaving = False
        self._wake = threading.Event()
        self._store = self._join(timedelta(seconds=patience))
        self._thread = threading.Thread(target=self._run, name="health-link", daemon=True)
        self._thread.start()

    def _join(self, patience: timedelta) -> dist.TCPStore:
        host, port = os.environ.get("MASTER_ADDR", "localhost"), [0]
        if self.rank == 0:
            store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=patience)
            keys = [VERDICT, TOLD, *map(str, range(self.world_size))]
            for key in keys:
                store.set(key, NONE if key in (VERDICT, TOLD) else json.dumps(FIRST))
            port = [store.port]
            dist.broadcast_object_list(port, src=0)
            return store
        dist.broadcast_object_list(port, src=0)
        return dist.TCPStore(host, port[0], is_master=False, wait_for_workers=False, timeout=patience)

    def _run(self) -> None:
        try:
            while not self._exchange():
                self._wake.wait(HURRY if self.verdict or self._leaving else self.interval)
                self._wake.clear()
            self.over = True
        except dist.DistError:
            self.broken = True

    def _exchange(self) -> bool:
        """One round; returns whether it was the last."""
        left = self._leaving or (self.told and self.rank > 0)
        beat = self._beat(self.exchanges)._replace(left=left)
        self._store.set(str(self.rank), json.dumps(beat))
        if self._post:
            self._store.compare_set(VERDICT, NONE, self._post)
        if self._tell:
            self._store.set(TOLD, "yes")
        ranks = self._read()
        verdict, told, *beats = (value.decode() for value in self._store.multi_get([VERDICT, TOLD, *map(str, ranks)]))
        self.beats = {rank: Beat(*json.loads(value)) for rank, value in zip(ranks, beats, strict=True)}
        self.told = told != NONE
        if verdict != NONE:
            self.verdict = Verdict(*json.loads(verdict))
        self.exchanges += 1
        return left and (self.rank > 0 or all(other.left for other in self.beats.values()))

    def _read(self) -> range:
        """The ranks whose beats this one reads: rank 0 those of all, the others that of rank 0."""
        return range(self.world_size if self.rank == 0 else 1)

    def post(self, verdict: Verdict) -> None:
        """Gives a verdict, unless one was given before."""
        self._post = json.dumps(verdict)
        self._wake.set()

    def tell(self) -> None:
        """Says that the verdict has been reported, so that the ranks may end."""
        self._tell = True
        self._wake.set()

    def leave(self) -> None:
        """Ends the link in order: rank 0, whose store the others use, goes last. Returns early where a rank is lost."""
        self._leaving = True
        self._wake.set()
        self._thread.join()
