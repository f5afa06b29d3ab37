"""What the ranks tell each other about their health, over a store of their own and in a thread of their own.

Every rank says about once a second that it lives and where its training loop stands. Rank 0, which serves the store,
reads all of that at once; the others read what rank 0 says of itself, and the job's failure, of which there is
one. Whoever calls the store can be stuck in it for ever where rank 0 stands still, so nothing here decides anything:
the watchdog looks at what was heard last, and when.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple, TypeVar

import torch.distributed as dist

from semisonic.distributed.heartbeat_store import UNSET, meet
from semisonic.text import dump_json

T = TypeVar("T")

FAILURE_KEY, REPORTED_KEY = "failure", "reported"

CLOSING_INTERVAL = 0.05
"""Seconds between exchanges once the job ends."""


class Phase(StrEnum):
    """What a rank's main thread is doing, in the words of the messages."""

    STARTING = "starting up"
    DATA = "waiting for data"
    STEP = "in the step"
    METRICS = "waiting for the device"
    EVALUATING = "evaluating"
    SAVING = "writing a checkpoint"
    FINISHING = "finishing"


class Position(NamedTuple):
    """Where a rank's main thread stands."""

    step: int
    phase: Phase
    moves: int
    """How often it has gone on to something else; the same sequence on every rank."""


class Activity:
    """What the main thread does: one assignment each time that it goes on to something else."""

    def __init__(self) -> None:
        self.now = Position(0, Phase.STARTING, 0)

    def enter(self, phase: Phase, step: int | None = None) -> None:
        before, _, moves = self.now
        self.now = Position(before if step is None else step, phase, moves + 1)

    def each(self, phase: Phase, items: Iterable[T]) -> Iterator[T]:
        """The items, each of which is progress."""
        self.enter(phase)
        for item in items:
            yield item
            self.enter(phase)


class Heartbeat(NamedTuple):
    """A sign of life of a rank."""

    number: int
    position: Position
    stalled: float
    """Seconds since its main thread last went on."""
    suspects: bool = False
    """A collective has failed here: some rank has gone."""
    left: bool = False
    """It needs the store no more: its run is over, or it knows that the failure has been reported."""

    @classmethod
    def from_json(cls, text: str) -> "Heartbeat":
        number, (step, phase, moves), *rest = json.loads(text)
        return cls(number, Position(step, Phase(phase), moves), *rest)


FIRST = Heartbeat(0, Position(0, Phase.STARTING, 0), 0.0)


class FailureKind(StrEnum):
    LOST = "lost"
    """A rank does not answer."""
    STUCK = "stuck"
    """A rank makes no progress."""
    RAISED = "raised"
    """A rank raised an error."""


class Failure(NamedTuple):
    """Why the job ends; the first one that the store gets stands."""

    kind: FailureKind
    rank: int
    step: int
    phase: Phase
    lines: list[str]
    """What people read, one mistake a line."""
    reason: str
    """What status.json says."""
    code: int
    """The exit code of every rank."""
    trace: str = ""
    by_all_ranks: bool = False
    """All ranks raised it together."""
    ranks: list[int] = []
    """All that are lost or stuck."""

    @classmethod
    def from_json(cls, text: str) -> "Failure":
        kind, rank, step, phase, *rest = json.loads(text)
        return cls(FailureKind(kind), rank, step, Phase(phase), *rest)


class HeartbeatClient:
    """One rank's side of the store.

    heartbeat(number): what to say next. interval: seconds between exchanges. timeout: seconds that a request may take.
    Every rank must make its client at the same time. `failure`, `reported` (somebody has reported it), `heartbeats`
    (what was heard last, by rank), `exchanges` (how many succeeded), `disconnected` (rank 0's store has gone) and
    `closed` (it was left in order) are only read elsewhere.
    """

    def __init__(self, heartbeat: Callable[[int], Heartbeat], interval: float, timeout: float):
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._heartbeat, self.interval = heartbeat, interval
        self.failure: Failure | None = None
        self.reported = self.disconnected = self.closed = False
        self.exchanges = 0
        self.heartbeats = dict.fromkeys(self._heard_ranks(), FIRST)
        self._posted: str | None = None
        self._reports = self._leaving = False
        self._wake = threading.Event()
        self._store = meet(timedelta(seconds=timeout), [FAILURE_KEY, REPORTED_KEY])
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._exchange():
                self._wake.wait(CLOSING_INTERVAL if self.failure or self._leaving else self.interval)
                self._wake.clear()
            self.closed = True
        except dist.DistError:
            self.disconnected = True

    def _exchange(self) -> bool:
        """One round; returns whether it was the last."""
        left = self._leaving or (self.reported and self.rank > 0)
        heartbeat = self._heartbeat(self.exchanges)._replace(left=left)
        self._store.set(str(self.rank), dump_json(heartbeat))
        if self._posted:
            self._store.set_once(FAILURE_KEY, self._posted)
        if self._reports:
            self._store.set(REPORTED_KEY, "yes")
        ranks = self._heard_ranks()
        found = self._store.read([FAILURE_KEY, REPORTED_KEY, *map(str, ranks)])
        heard = {rank: Heartbeat.from_json(found[str(rank)]) for rank in ranks if str(rank) in found}
        # One that was repeated, by whoever has read it, is older than what is known.
        newer = {rank: one for rank, one in heard.items() if one.number >= self.heartbeats[rank].number}
        self.heartbeats = self.heartbeats | newer
        self.reported = self.reported or found.get(REPORTED_KEY, UNSET) != UNSET
        if (failure := found.get(FAILURE_KEY, UNSET)) != UNSET:
            self.failure = Failure.from_json(failure)
        self.exchanges += 1
        return left and (self.rank > 0 or all(other.left for other in self.heartbeats.values()))

    def _heard_ranks(self) -> range:
        """The ranks whose heartbeats this one reads: rank 0 those of all, the others that of rank 0."""
        return range(self.world_size if self.rank == 0 else 1)

    def post(self, failure: Failure) -> None:
        """Has a failure end the job, unless there is one already, of this rank or another."""
        self._posted = self._posted or dump_json(failure)
        self._wake.set()

    def mark_reported(self) -> None:
        """Says that the failure has been reported, so that the ranks may end."""
        self._reports = True
        self._wake.set()

    def leave(self) -> None:
        """Ends the exchange in order: rank 0, whose store the others use, goes last. Returns if its store has gone."""
        self._leaving = True
        self._wake.set()
        self._thread.join()
