"""Notices that a rank is gone, hangs or has failed, and ends the whole job with one message that says which and where.

A thread in every rank watches while the main thread may be stuck in a collective or in the device. A rank is lost when
it gives no sign of life for `health.heartbeat` seconds, and stuck when its training loop does not go on for
`health.progress` seconds. An error that a rank raises ends the others too, which would wait for it otherwise. Rank 0
reports; rank 1 does where rank 0 is the one that is lost.

`TRANSITIONS` is the whole course of a watchdog; what makes a failure of what was heard is in `failures.py`.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import TracebackType

import torch.distributed as dist
from pydantic import Field

from semisonic.distributed.failures import (
    LivenessMonitor,
    RaisedByAllRanks,
    failure_from,
    failure_of_killed,
    may_be_a_peers,
    report_lines,
)
from semisonic.distributed.heartbeat import Activity, Failure, FailureKind, Heartbeat, HeartbeatClient, Phase
from semisonic.distributed.processes import complain
from semisonic.distributed.siblings import Siblings, kill_local_ranks
from semisonic.schema import Config

TICK, GRACE = 0.5, 3.0
"""Seconds between two looks at what was heard; seconds that ranks allow each other beyond what is counted."""
CHECKPOINT_WAIT = 20.0
"""Seconds that the end of a job waits for the checkpoint that is being written: less than launchers wait."""

StatusWriter = Callable[[int, str, int], bool]
"""Writes status.json, given step, reason and exit code; returns False where another rank has done so."""


class HealthConfig(Config):
    heartbeat: float = Field(20, ge=2, le=1e6)
    """Seconds without a sign of life after which a rank counts as lost and the job ends."""
    progress: float = Field(900, ge=2, le=1e6)
    """Seconds without a finished step, slice of an evaluation or checkpoint after which a rank counts as stuck."""
    compare_every: int = Field(1000, ge=1, le=10**9)
    """Steps between comparisons of the ranks' parameters and state; each checkpoint is preceded by one as well."""


def collective_timeout(cfg: HealthConfig) -> float:
    """Seconds that collectives may wait: longer than the watchdog, whose message says more than theirs."""
    return cfg.progress + cfg.heartbeat + 120


class State(StrEnum):
    """Where the watchdog of a rank stands."""

    WATCHING = "watching"
    """Nothing is known to be wrong."""
    SUSPECTING = "suspecting"
    """A collective seems to have failed here: the heartbeats are to say whether a rank has gone, and which."""
    DEFERRING = "deferring"
    """All ranks have raised the same: rank 0 reports it, once its last checkpoint is written."""
    RAISED = "raised"
    """An error of this rank is posted; the first failure that is posted stands."""
    FAILING = "failing"
    """The job's failure is known, and whoever is to report it does."""
    REPORTED = "reported"
    """The failure is reported as far as this rank knows; the process ends."""
    LEAVING = "leaving"
    """The run is over in order; the ranks watch each other until all of them have come so far."""
    OVER = "over"
    """Nothing is watched any more; an error, if there is one, is raised as in any program."""


_S = State
TRANSITIONS: dict[tuple[State, State], str] = {
    (_S.WATCHING, _S.SUSPECTING): "the main thread raised what a collective raises whose peer has gone",
    (_S.WATCHING, _S.DEFERRING): "the main thread of a rank other than 0 raised what all ranks raise together",
    (_S.WATCHING, _S.RAISED): "the main thread raised any other error",
    (_S.SUSPECTING, _S.RAISED): "no rank was found lost in time, so the error is this rank's own",
    (_S.DEFERRING, _S.RAISED): "rank 0 did not report in time",
    (_S.WATCHING, _S.FAILING): "another rank's failure stands; rank 0 is lost; or the only process is stuck",
    (_S.SUSPECTING, _S.FAILING): "a failure stands, or rank 0 is lost: that was the cause",
    (_S.DEFERRING, _S.FAILING): "rank 0 has posted the same, or is lost",
    (_S.RAISED, _S.FAILING): "this rank's failure stands, or one that was posted before; or rank 0 is lost",
    (_S.LEAVING, _S.FAILING): "a rank failed or was lost on the last steps",
    (_S.FAILING, _S.REPORTED): "it has been reported, or the time for it is up",
    (_S.WATCHING, _S.LEAVING): "the context ended without an error, among several ranks",
    (_S.LEAVING, _S.OVER): "all ranks have come so far, or rank 0's store has gone, which nobody needs any more",
    (_S.WATCHING, _S.OVER): "the context of a single process ended, with an error or without",
    (_S.SUSPECTING, _S.OVER): "no rank could be asked in time",
    (_S.DEFERRING, _S.OVER): "no rank could be asked in time",
    (_S.RAISED, _S.OVER): "no rank could be asked in time",
}
"""Which state follows which, and why. What is not here does not happen: whichever thread comes second stays behind."""


class StateMachine:
    """The state of a watchdog, which two threads change and wait for."""

    def __init__(self) -> None:
        self.state = State.WATCHING
        self._changed = threading.Condition()

    def enter(self, state: State) -> bool:
        """Goes on to a state, where the table has it; returns whether it does."""
        with self._changed:
            allowed = (self.state, state) in TRANSITIONS
            if allowed:
                self.state = state
                self._changed.notify_all()
            return allowed

    def wait_for(self, state: State, seconds: float) -> bool:
        """Waits at most so long for a state; returns whether it is reached."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state is state, seconds)


class Watchdog:
    """Watches one rank, or, in rank 0, all; used as a context around everything that the process group is for.

    code_of: exit code of an error. debug: tracebacks of users' mistakes too. In a single process only progress is
    watched, and errors are raised as always; among several ranks an error that leaves the context ends the process.
    """

    def __init__(self, cfg: HealthConfig, code_of: Callable[[BaseException], int], debug: bool = False):
        self.cfg, self.code_of, self.debug = cfg, code_of, debug
        self.activity = Activity()
        self.wait_for_checkpoint: Callable[[float], None] = lambda seconds: None
        """Waits at most so long for what this process must not leave half done: rank 0's checkpoint in flight."""
        self._writers: list[StatusWriter] = []
        self._machine = StateMachine()
        self._own: Failure | None = None
        """What the main thread of this rank has raised."""
        self._held_back = 0.0
        """Seconds that this rank's own error has waited for another explanation."""
        self._siblings = Siblings()
        self._connect(None, 0)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def _connect(self, client: HeartbeatClient | None, rank: int) -> None:
        self.client, self.rank = client, rank
        interval = client.interval if client else 0.0
        self._monitor = LivenessMonitor(rank, self.cfg.heartbeat, self.cfg.progress, interval)

    @property
    def state(self) -> State:
        return self._machine.state

    # In the main thread.

    def __enter__(self) -> "Watchdog":
        if dist.is_initialized() and dist.get_world_size() > 1:
            interval = min(1.0, self.cfg.heartbeat / 4)
            self._connect(HeartbeatClient(self._heartbeat, interval, self.cfg.heartbeat), dist.get_rank())
            self._siblings.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.end(error)
        elif self.client:
            self.activity.enter(Phase.FINISHING)
            self._machine.enter(State.LEAVING)
            self.client.leave()  # still watched: a rank that does not come is lost
            if self.client.failure:
                self._thread.join()  # which ends the process
        self._siblings.stop()
        self._machine.enter(State.OVER)
        self._thread.join()

    @contextmanager
    def recording(self, writer: StatusWriter) -> Iterator[None]:
        """Inside, `writer` writes down why the run failed, whichever way it ends."""
        self._writers.append(writer)
        try:
            yield
        except BaseException as error:
            self.end(error)
            writer(self.activity.now.step, f"{type(error).__name__}: {error}", self.code_of(error))
            raise
        finally:
            self._writers.pop()

    def end(self, error: BaseException) -> None:
        """Has an error of this rank reported, or what caused it elsewhere, which ends the process. Returns in a single
        process, and where no rank could be asked: there the error may simply be raised.
        """
        if self.client is None:
            return
        self.handle(error)
        explained = max(self._longest_suspicion, CHECKPOINT_WAIT + GRACE)
        if not self._machine.wait_for(State.OVER, explained + self.cfg.heartbeat + 3 * GRACE + CHECKPOINT_WAIT):
            self._machine.enter(State.OVER)

    def handle(self, error: BaseException) -> None:
        """What an error among several ranks does to the state. Does not wait. The first error counts: what follows on
        its way out, or is seen again by an outer context, is no news.
        """
        if self._own:
            return
        self._own = failure_from(error, self.rank, self.activity.now, self.code_of(error), self.debug)
        if may_be_a_peers(error):
            self._machine.enter(State.SUSPECTING)
        elif isinstance(error, RaisedByAllRanks) and self.rank:
            self._machine.enter(State.DEFERRING)
        else:
            self._post_own()

    def _post_own(self) -> None:
        if self.client and self._own and self._machine.enter(State.RAISED):
            self.client.post(self._own)

    @property
    def _longest_suspicion(self) -> float:
        """Seconds that an error waits for heartbeats to explain it: a lost rank is found by then on all ranks."""
        return self._monitor.suspicious_limit + 2 * GRACE

    # In the thread of the heartbeats.

    def _heartbeat(self, number: int) -> Heartbeat:
        return Heartbeat(number, self.activity.now, self._monitor.stalled, self.state is State.SUSPECTING)

    # In the watching thread.

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._machine.wait_for(State.OVER, TICK):
            # Time that this process itself stood still is nobody's fault: no look counts for more than two.
            longest = 2 * max(TICK, self._monitor.interval)
            before, looked = looked, time.monotonic()
            if self.look(min(looked - before, longest)):
                return

    def look(self, passed: float) -> bool:
        """Looks at what was heard, `passed` seconds after the last time, and ends the process where the job has
        failed; returns whether it has.
        """
        failure = self._find_failure(passed)
        if failure is None or not self._machine.enter(State.FAILING):
            return False
        self._end_process(failure)
        return True

    def _find_failure(self, passed: float) -> Failure | None:
        """The job's failure, once there is one that stands.

        Posts what this rank finds: rank 0 the ranks that are lost or stuck, and any rank its own error when nothing has
        explained it for long enough.
        """
        client, monitor = self.client, self._monitor
        if client and client.failure:
            return client.failure
        if client and client.closed:
            return None
        monitor.watch_progress(passed, self.activity.now)
        if client is None:
            return monitor.find_failure({0: self._heartbeat(0)})
        monitor.listen(passed, client.exchanges, client.heartbeats)
        suspicious = self.state is State.SUSPECTING or any(other.suspects for other in client.heartbeats.values())
        found = self._find_killed(client) or monitor.find_failure(client.heartbeats, suspicious, client.disconnected)
        if found and found.rank == 0 and self.rank:
            return found  # rank 0 is lost, and the store with it
        if found:
            client.post(found)
        self._hold_back_own_error(passed)
        return None

    def _find_killed(self, client: HeartbeatClient) -> Failure | None:
        """The failure of ranks of this host that a signal has killed, found by the first of those that are left.

        One that had left in order is missed by nobody, whatever it dies of.
        """
        heard, leaving = client.heartbeats, self.state is State.LEAVING and self.rank > 0
        killed = {rank: by for rank, by in dict(self._siblings.killed).items()
                  if not (heard[rank].left if rank in heard else leaving)}  # fmt: skip
        left = [rank for rank in self._siblings.ranks if rank not in killed]
        if not killed or (0 not in killed and any(rank < self.rank for rank in left)):
            return None
        return failure_of_killed(killed, heard, self.activity.now)

    def _hold_back_own_error(self, passed: float) -> None:
        """Posts this rank's own error once the time is up in which another explanation would have come."""
        longest = {State.SUSPECTING: self._longest_suspicion, State.DEFERRING: CHECKPOINT_WAIT + GRACE}
        if self.state in longest:
            self._held_back += passed
            if self._held_back > longest[self.state]:
                self._post_own()

    def _end_process(self, failure: Failure) -> None:
        """Has the failure reported, once among all ranks, and ends the process."""
        try:
            self._publish(failure)
        except BaseException:
            complain(traceback.format_exc())  # the job ends all the same
        self.wait_for_checkpoint(CHECKPOINT_WAIT)
        self._machine.enter(State.REPORTED)
        os._exit(failure.code)

    def _publish(self, failure: Failure) -> None:
        """Reports the failure where that is for this rank to do; else waits until it has been reported."""
        client, monitor = self.client, self._monitor
        if client is None:
            self._report(failure)
        elif failure.kind is FailureKind.LOST and failure.rank == 0:
            if self._takes_over():
                self._report(failure)
        elif self.rank == 0:
            if failure.rank and failure.kind is FailureKind.RAISED:
                self._poll(lambda: self._own is not None, TICK)  # this rank may find the same
            self._report(failure)
            client.mark_reported()

            def gone() -> bool:
                monitor.listen(0.05, client.exchanges, client.heartbeats)
                return monitor.others_have_gone(client.heartbeats)

            self._poll(gone, GRACE)
        else:
            self._poll(lambda: client.disconnected or client.closed, 2 * GRACE)

    def _poll(self, condition: Callable[[], bool], seconds: float) -> None:
        """Waits at most so long until something holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            time.sleep(0.05)

    def _takes_over(self) -> bool:
        """Whether to report the loss of rank 0: rank 1 does, and the first of every other machine, should it be gone
        as well, if nobody has by then. The others give them the time.
        """
        first = int(os.environ.get("LOCAL_RANK", "0")) == 0
        if self.rank > 1:
            time.sleep(1 + min(1.0, self.rank / 64) if first else GRACE)
        return self.rank == 1 or first

    def _report(self, failure: Failure) -> None:
        if not self._record(failure) and failure.kind is not FailureKind.RAISED:
            return  # somebody else has reported it; this process was the one that stood still
        if failure.kind is FailureKind.LOST:
            kill_local_ranks(failure.ranks)
        complain(failure.trace + "".join(f"error: {line}\n" for line in report_lines(failure, self._own)))

    def _record(self, failure: Failure) -> bool:
        """Has status.json written, but does not wait for a disk that may be what hangs."""
        writers, written = list(reversed(self._writers)), []

        def write() -> None:
            try:
                written.extend([writer(failure.step, failure.reason, failure.code) for writer in writers])
            except OSError as error:
                complain(f"error: status.json cannot be written: {error}\n")

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        thread.join(GRACE)
        return any(written) or not written
