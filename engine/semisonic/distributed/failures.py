"""From signs of life and errors to the failure that ends a job, and to what people read of it.

Nothing here knows threads, clocks or sockets: whoever calls says how many seconds have passed and what was heard.
"""

import traceback

import torch.distributed as dist

from semisonic.distributed.heartbeat import Failure, FailureKind, Heartbeat, Phase, Position
from semisonic.schema import ExitCode, UserError
from semisonic.text import printable_lines

SUSPICION = 5.0
"""Seconds of silence after which a rank is lost where a collective has failed: then some rank surely is."""


class RaisedByAllRanks(UserError):
    """What all ranks find together; its message names the ranks that matter."""


def may_be_a_peers(error: BaseException) -> bool:
    """Whether an error may be a collective's that failed because another rank has gone.

    Over gloo that is a plain RuntimeError, and over NCCL or a store a DistError. A plain RuntimeError has many other
    causes, of which nothing tells it apart but its words: so it is a suspicion only, until the heartbeats confirm it.
    """
    return type(error) is RuntimeError or isinstance(error, dist.DistError)


def format_ranks(ranks: list[int]) -> str:
    """Ranks in words; many are cut short."""
    shown = [str(rank) for rank in ranks[:8]] + ([f"{len(ranks) - 8} more"] if len(ranks) > 8 else [])
    return f"rank {shown[0]}" if len(ranks) == 1 else f"ranks {', '.join(shown[:-1])} and {shown[-1]}"


def failure_of(kind: FailureKind, heartbeats: dict[int, Heartbeat], seconds: float | None) -> Failure:
    """The failure of ranks that are lost or stuck since so many seconds, from what was heard of them last.

    None: lost, for the connection to them is.
    """
    ranks = sorted(heartbeats)
    rank, last = ranks[0], heartbeats[ranks[0]].position
    what = "closed its connection"
    if seconds is not None:
        what = f"not {'answered' if kind is FailureKind.LOST else 'gone on'} for {seconds:g} s"
    line = f"{format_ranks(ranks)} {'has' if len(ranks) == 1 else 'have'} {what}; "
    signs = list(dict.fromkeys(heartbeats[other].position[:2] for other in ranks))
    line += "its last sign was " if len(ranks) == 1 else "the last sign was "
    line += " or ".join(f"step {step}, {phase}" for step, phase in signs[:4])
    line += "; --resume continues from the last checkpoint"
    if kind is FailureKind.STUCK:
        line += ", and health.progress allows for longer steps"
    return Failure(kind, rank, last.step, last.phase, [line], line, ExitCode.LOST, ranks=ranks)


def failure_of_killed(killed: dict[int, str], heartbeats: dict[int, Heartbeat], own: Position) -> Failure:
    """The failure of ranks that signals have killed, by rank; of several signals the first rank's counts.

    heartbeats: what was heard last, of whom anything is. own: where this rank stands, about as far as all others.
    """
    first = min(killed)
    ranks = sorted(rank for rank, by in killed.items() if by == killed[first])
    last = heartbeats[first].position if first in heartbeats else own
    was, its = ("was", "its") if len(ranks) == 1 else ("were", "the")
    line = f"{format_ranks(ranks)} {was} killed by {killed[first]}"
    line += " (out of memory?)" if killed[first] == "SIGKILL" else ""
    heard = first in heartbeats
    line += f"; {its} last sign was step {last.step}, {last.phase}" if heard else f" at about step {last.step}"
    line += "; --resume continues from the last checkpoint"
    return Failure(FailureKind.LOST, first, last.step, last.phase, [line], line, ExitCode.LOST, ranks=ranks)


def failure_from(error: BaseException, rank: int, position: Position, code: int, debug: bool = False) -> Failure:
    """The failure that a rank's error is. code: its exit code. debug: with tracebacks of users' mistakes too."""
    mistake = isinstance(error, UserError)
    unforeseen = printable_lines(f"{type(error).__name__}: {error}".rstrip(": "))
    lines = error.messages if isinstance(error, UserError) else [unforeseen]
    trace = "" if mistake and not debug else "".join(traceback.format_exception(error))
    reason = f"{type(error).__name__}: {error}"
    step, phase, _ = position
    by_all = isinstance(error, RaisedByAllRanks)
    return Failure(FailureKind.RAISED, rank, step, phase, lines, reason, code, trace, by_all)


def report_lines(failure: Failure, own: Failure | None) -> list[str]:
    """What rank 0, or who reports in its place, prints: with the rank and its position where they matter.

    own: what the reporting rank has raised itself.
    """
    lines = list(failure.lines)
    if failure.kind is not FailureKind.RAISED:
        return lines
    if failure.phase is Phase.STARTING:
        # A mistake that every rank finds before the first step is none of one rank.
        if failure.rank and not (own and own.lines == lines):
            lines[-1] += f" (rank {failure.rank})"
    elif not failure.by_all_ranks:
        lines[-1] += f" (rank {failure.rank}, step {failure.step}, {failure.phase})"
    return lines


def furthest_behind(heartbeats: dict[int, Heartbeat]) -> dict[int, Heartbeat]:
    """Those that the others wait for: the ranks whose loop is furthest behind."""

    def reached(heartbeat: Heartbeat) -> tuple[int, int]:
        return heartbeat.position.step, heartbeat.position.moves

    least = min(map(reached, heartbeats.values()))
    return {rank: heartbeat for rank, heartbeat in heartbeats.items() if reached(heartbeat) == least}


class LivenessMonitor:
    """For how long the main thread of this rank has not gone on, and for how long the others have been silent.

    heartbeat, progress: seconds, of the configuration. interval: seconds between exchanges. Rank 0 hears all ranks, the
    others rank 0 only.
    """

    def __init__(self, rank: int, heartbeat: float, progress: float, interval: float):
        self.rank, self.heartbeat, self.progress, self.interval = rank, heartbeat, progress, interval
        self.stalled = 0.0
        """Seconds since the main thread of this rank last went on."""
        self.silent: dict[int, float] = {}
        """Seconds without a new sign of life, of every other rank that is heard."""
        self._moves = 0
        self._numbers: dict[int, int] = {}
        self._exchanges, self._waited = 0, 0.0

    @property
    def suspicious_limit(self) -> float:
        """Seconds of silence after which a rank is lost where a collective has failed."""
        return min(self.heartbeat, SUSPICION)

    def watch_progress(self, passed: float, position: Position) -> None:
        """Takes note of where the main thread stands, `passed` seconds after the last time."""
        going_on = position.moves != self._moves or position.phase in (Phase.STARTING, Phase.FINISHING)
        self._moves, self.stalled = position.moves, 0.0 if going_on else self.stalled + passed

    def listen(self, passed: float, exchanges: int, heartbeats: dict[int, Heartbeat]) -> None:
        """Takes note of who has given a new sign, `passed` seconds and so many exchanges later."""
        self._waited += passed
        if self.rank == 0 and exchanges == self._exchanges:
            return  # nothing was asked since, so nobody could answer
        # However long this rank could not ask: an answer may be as old as the interval.
        passed, self._waited, self._exchanges = min(self._waited, 2 * self.interval), 0.0, exchanges
        for rank, heartbeat in heartbeats.items():
            if rank == self.rank:
                continue
            fresh = heartbeat.number != self._numbers.get(rank) or heartbeat.left
            self.silent[rank] = 0.0 if fresh else self.silent[rank] + passed
            self._numbers[rank] = heartbeat.number

    def find_failure(
        self, heartbeats: dict[int, Heartbeat], suspicious: bool = False, disconnected: bool = False
    ) -> Failure | None:
        """The failure of ranks that have been silent or stuck for too long.

        Rank 0 finds it for all; the others see only whether rank 0 is lost. suspicious: a collective has failed
        somewhere. disconnected: rank 0's store has closed the connection.
        """
        limit = self.suspicious_limit if suspicious else self.heartbeat
        if self.rank:
            if disconnected or self.silent.get(0, 0.0) > limit:
                return failure_of(FailureKind.LOST, {0: heartbeats[0]}, None if disconnected else limit)
        elif max(self.silent.values(), default=0.0) > limit:
            # Ranks that went together, with their machine, are silent for as long up to an interval or two.
            late = max(limit - 2 * self.interval, limit / 2)
            lost = {rank: heartbeats[rank] for rank, silent in self.silent.items() if silent > late}
            return failure_of(FailureKind.LOST, lost, limit)
        elif any(heartbeat.stalled > self.progress for heartbeat in heartbeats.values()):
            return failure_of(FailureKind.STUCK, furthest_behind(heartbeats), self.progress)
        return None

    def others_have_gone(self, heartbeats: dict[int, Heartbeat]) -> bool:
        """Whether every other rank has left in order, or has been silent while the ranks ask each other often."""
        others = {rank: heartbeat for rank, heartbeat in heartbeats.items() if rank != self.rank}
        return all(self.silent.get(rank, 0.0) > 2 or other.left for rank, other in others.items())
