"""Notices that a rank is gone, hangs or has failed, and ends the whole job with one message that says which and where.

A thread in every rank watches while the main thread may be stuck in a collective or in the device. A rank is lost when
it gives no sign of life for `health.heartbeat` seconds, and stuck when its training loop does not go on for
`health.progress` seconds. An error that a rank raises ends the others too, which would wait for it otherwise. Rank 0
reports; rank 1 does where rank 0 is the one that is lost.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import torch.distributed as dist

from semisonic.link import Beat, Link, Verdict
from semisonic.schema import ExitCode, UserError

if TYPE_CHECKING:
    from semisonic.config import HealthConfig

T = TypeVar("T")

EXIT_LOST = ExitCode.LOST

STARTING, FINISHING = "starting up", "finishing"
DATA, STEP, FIGURES = "waiting for data", "in the step", "waiting for the device"
EVALUATING, SAVING = "evaluating", "writing a checkpoint"

SUSPICION = 5.0
"""Seconds of silence after which a rank is lost where a collective has failed: then some rank surely is."""
TICK, GRACE = 0.5, 3.0
SETTLING = 20.0
"""Seconds that the end of a job waits for the checkpoint that is being written: less than launchers wait."""


class Agreed(UserError):
    """What all ranks find together; its message names the ranks that matter."""


Note = Callable[[int, str, int], bool]
"""Writes status.json, given step, reason and exit code; returns False where another rank has done so."""


class Pulse:
    """What the main thread does: one assignment each time that it goes on to something else."""

    def __init__(self) -> None:
        self.now: tuple[int, str, int] = (0, STARTING, 0)
        """Step, phase, and how often the thread has gone on."""

    def at(self, phase: str, step: int | None = None) -> None:
        before, _, count = self.now
        self.now = (before if step is None else step, phase, count + 1)

    def each(self, phase: str, items: Iterable[T]) -> Iterator[T]:
        """The items, each of which is progress."""
        self.at(phase)
        for item in items:
            yield item
            self.at(phase)


def patience(cfg: "HealthConfig") -> float:
    """Seconds that collectives may wait: longer than the watch, whose message says more than theirs."""
    return cfg.progress + cfg.heartbeat + 120


def named(ranks: list[int]) -> str:
    """Ranks in words; many are cut short."""
    shown = [str(rank) for rank in ranks[:8]] + ([f"{len(ranks) - 8} more"] if len(ranks) > 8 else [])
    return f"rank {shown[0]}" if len(ranks) == 1 else f"ranks {', '.join(shown[:-1])} and {shown[-1]}"


def accuse(kind: str, beats: dict[int, Beat], seconds: float | None) -> Verdict:
    """The verdict on ranks that are "lost" or "stuck" since so many seconds, from their last signs.

    None: lost, for the connection to them is.
    """
    ranks = sorted(beats)
    rank, beat = ranks[0], beats[ranks[0]]
    what = "closed its connection"
    if seconds is not None:
        what = f"not {'answered' if kind == 'lost' else 'gone on'} for {seconds:g} s"
    line = f"{named(ranks)} {'has' if len(ranks) == 1 else 'have'} {what}; "
    signs = list(dict.fromkeys((beats[other].step, beats[other].phase) for other in ranks))
    line += "its last sign was " if len(ranks) == 1 else "the last sign was "
    line += " or ".join(f"step {step}, {phase}" for step, phase in signs[:4])
    line += "; --resume continues from the last checkpoint"
    if kind == "stuck":
        line += ", and health.progress allows for longer steps"
    return Verdict(kind, rank, beat.step, beat.phase, [line], line, EXIT_LOST, ranks=ranks)


def behind(beats: dict[int, Beat]) -> dict[int, Beat]:
    """Those that the others wait for: the ranks whose loop is furthest behind."""
    first = min((beat.step, beat.turns) for beat in beats.values())
    return {rank: beat for rank, beat in beats.items() if (beat.step, beat.turns) == first}


def from_a_peer(error: BaseException) -> bool:
    """Whether an error may be a collective's that failed because another rank has gone."""
    text = str(error).lower()
    signs = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket")
    failed = isinstance(error, RuntimeError) and any(sign in text for sign in signs)
    return failed or isinstance(error, dist.DistError)


def end_siblings(ranks: list[int]) -> None:
    """Kills those of the ranks that stand still on this machine, which a launcher does only half a minute later."""
    own = {f"{name}={os.environ[name]}".encode() for name in ("MASTER_ADDR", "MASTER_PORT")}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            environment = set((folder / "environ").read_bytes().split(b"\0")) if parent == os.getppid() else set()
            if own <= environment and any(f"RANK={rank}".encode() in environment for rank in ranks):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended meanwhile, or is none of ours


class Watch:
    """Watches one rank, or, in rank 0, all; used as a context around everything that the process group is for.

    code_of: exit code of an error. debug: tracebacks of users' mistakes too. In a single process only progress is
    watched, and errors are raised as always; among several ranks an error that leaves the context ends the process.
    """

    def __init__(self, cfg: "HealthConfig", code_of: Callable[[BaseException], int], debug: bool = False):
        self.cfg, self.code_of, self.debug = cfg, code_of, debug
        self.pulse = Pulse()
        self.rank = 0
        self.link: Link | None = None
        self.verdict: Verdict | None = None
        self.settle: Callable[[float], None] = lambda seconds: None
        """Waits at most so long for what this process must not leave half done: rank 0's checkpoint in flight."""
        self._own: Verdict | None = None
        self._suspects = False
        self._notes: list[Note] = []
        self._found, self._done, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._raised = threading.Event()
        self._count, self._stalled = 0, 0.0
        self._heard: dict[int, int] = {}
        self._silent: dict[int, float] = {}
        self._exchanges, self._waited, self._looked = 0, 0.0, 0.0
        self._thread = threading.Thread(target=self._run, name="health-watch", daemon=True)

    def __enter__(self) -> "Watch":
        if dist.is_initialized() and dist.get_world_size() > 1:
            self.rank = dist.get_rank()
            self.link = Link(self._beat, min(1.0, self.cfg.heartbeat / 4), self.cfg.heartbeat)
        self._looked = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.end(error)
        elif self.link:
            self.pulse.at(FINISHING)
            self.link.leave()  # still watched: a rank that does not come is lost
            if self.link.verdict:
                self._done.wait()
        self._stop.set()
        self._thread.join()

    @contextmanager
    def noting(self, note: Note) -> Iterator[None]:
        """Inside, `note` writes down why the run failed, whichever way it ends."""
        self._notes.append(note)
        try:
            yield
        except BaseException as error:
            self.end(error)
            note(self.pulse.now[0], f"{type(error).__name__}: {error}", self.code_of(error))
            raise
        finally:
            self._notes.pop()

    def end(self, error: BaseException) -> None:
        """Has an error of this rank reported, or what caused it elsewhere, and ends the process. Returns in a single
        process, and where no rank could be asked: there the error may simply be raised.
        """
        if self.link is None:
            return
        if from_a_peer(error):
            self._suspects = True
            self._found.wait(self.cfg.heartbeat + GRACE)
        elif isinstance(error, Agreed) and self.rank:
            self._found.wait(SETTLING + GRACE)  # rank 0 finds the same, once its last checkpoint is written
        if not self._found.is_set():
            self._own = self._confess(error)
            self._raised.set()
            self.link.post(self._own)
        if self._done.wait(self.cfg.heartbeat + 3 * GRACE + SETTLING) and self.verdict:
            os._exit(self.verdict.code)

    def _confess(self, error: BaseException) -> Verdict:
        step, phase, _ = self.pulse.now
        mistake = isinstance(error, UserError)
        lines = error.messages if isinstance(error, UserError) else [f"{type(error).__name__}: {error}".rstrip(": ")]
        trace = "" if mistake and not self.debug else "".join(traceback.format_exception(error))
        reason = f"{type(error).__name__}: {error}"
        agreed = isinstance(error, Agreed)
        return Verdict("raised", self.rank, step, phase, lines, reason, self.code_of(error), trace, agreed)

    # In the watching thread.

    def _beat(self, number: int) -> Beat:
        step, phase, turns = self.pulse.now
        return Beat(number, step, phase, turns, self._stalled, self._suspects)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            if self.link and self.link.verdict:
                self.verdict = self.link.verdict
            elif not (self.link and self.link.over):
                self._look()
            if self.verdict:
                self._conclude(self.verdict)
                return

    def _look(self) -> None:
        """Takes note of who has given a sign, and gives the verdict where somebody has not for too long."""
        # Time that this process itself stood still is nobody's fault: no look counts for more than two.
        now = time.monotonic()
        longest = 2 * max(TICK, self.link.interval if self.link else 0.0)
        passed, self._looked = min(now - self._looked, longest), now
        _, phase, count = self.pulse.now
        going_on = count != self._count or phase in (STARTING, FINISHING)
        self._count, self._stalled = count, 0.0 if going_on else self._stalled + passed
        if self.link is None:
            if self._stalled > self.cfg.progress:
                self.verdict = accuse("stuck", {0: self._beat(0)}, self.cfg.progress)
            return
        self._listen(self.link, passed)
        limit = min(self.cfg.heartbeat, SUSPICION) if self._suspected(self.link) else self.cfg.heartbeat
        beats = self.link.beats
        if self.rank:
            if self.link.broken or self._silent.get(0, 0.0) > limit:
                self.verdict = accuse("lost", {0: beats[0]}, None if self.link.broken else limit)
        elif max(self._silent.values(), default=0.0) > limit:
            # Ranks that went together, with their machine, are silent for as long up to an interval or two.
            late = max(limit - 2 * self.link.interval, limit / 2)
            lost = {rank: beats[rank] for rank, silent in self._silent.items() if silent > late}
            self.link.post(accuse("lost", lost, limit))
        elif any(beat.stalled > self.cfg.progress for beat in beats.values()):
            self.link.post(accuse("stuck", behind(beats), self.cfg.progress))

    def _suspected(self, link: Link) -> bool:
        return self._suspects or any(beat.suspects for beat in link.beats.values())

    def _listen(self, link: Link, passed: float) -> None:
        """Counts the seconds of silence of every other rank; for ranks other than 0, those of rank 0."""
        self._waited += passed
        if self.rank == 0 and link.exchanges == self._exchanges:
            return  # nothing was asked since, so nobody could answer
        # However long this rank could not ask: an answer may be as old as the interval.
        passed, self._waited, self._exchanges = min(self._waited, 2 * link.interval), 0.0, link.exchanges
        for rank, beat in link.beats.items():
            if rank == self.rank:
                continue
            fresh = beat.number != self._heard.get(rank) or beat.left
            self._silent[rank] = 0.0 if fresh else self._silent[rank] + passed
            self._heard[rank] = beat.number

    def _conclude(self, verdict: Verdict) -> None:
        """Has the verdict reported, once among all ranks, and ends the process."""
        self._found.set()
        try:
            self._publish(verdict)
        except BaseException:
            traceback.print_exc()  # the job ends all the same
        self.settle(SETTLING)
        self._done.set()
        os._exit(verdict.code)

    def _publish(self, verdict: Verdict) -> None:
        link = self.link
        if link is None:
            self._report(verdict)
        elif verdict.kind == "lost" and verdict.rank == 0:
            if self._takes_over():
                self._report(verdict)
        elif self.rank == 0:
            if verdict.rank and verdict.kind == "raised":
                self._raised.wait(TICK)  # this rank may find the same
            self._report(verdict)
            link.tell()
            self._wait(lambda: all(self._silent.get(r, 0.0) > 2 or b.left for r, b in link.beats.items() if r), link)
        else:
            self._wait(lambda: link.broken or link.over, None, 2 * GRACE)

    def _wait(self, condition: Callable[[], bool], link: Link | None, seconds: float = GRACE) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            time.sleep(0.05)
            if link:
                self._listen(link, 0.05)

    def _takes_over(self) -> bool:
        """Whether to report the loss of rank 0: rank 1 does, and the first of every other machine, should it be gone
        as well, if nobody has by then. The others give them the time.
        """
        first = int(os.environ.get("LOCAL_RANK", "0")) == 0
        if self.rank > 1:
            time.sleep(1 + min(1.0, self.rank / 64) if first else GRACE)
        return self.rank == 1 or first

    def _report(self, verdict: Verdict) -> None:
        if not self._noted(verdict) and verdict.kind != "raised":
            return  # somebody else has reported it; this process was the one that stood still
        lines = list(verdict.lines)
        # A mistake that every rank finds before the first step is none of one rank.
        common = verdict.rank == 0 or (self._own and self._own.lines == lines)
        if verdict.kind == "raised" and verdict.phase == STARTING and not common:
            lines[-1] += f" (rank {verdict.rank})"
        elif verdict.kind == "raised" and verdict.phase != STARTING and not verdict.agreed:
            lines[-1] += f" (rank {verdict.rank}, step {verdict.step}, {verdict.phase})"
        if verdict.kind == "lost":
            end_siblings(verdict.ranks)
        # Not through sys.stderr, whose lock a stuck main thread may hold.
        os.write(2, (verdict.trace + "".join(f"error: {line}\n" for line in lines)).encode())

    def _noted(self, verdict: Verdict) -> bool:
        """Has status.json written, but does not wait for a disk that may be what hangs."""
        notes, done = list(reversed(self._notes)), []

        def write() -> None:
            try:
                done.extend([note(verdict.step, verdict.reason, verdict.code) for note in notes])
            except OSError as error:
                os.write(2, f"error: status.json cannot be written: {error}\n".encode())

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        thread.join(GRACE)
        return any(done) or not done
