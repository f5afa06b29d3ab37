"""The watchdog's course from state to state; without its thread, and without other processes."""

import errno
import itertools
import threading
from collections.abc import Callable
from typing import cast

import pytest

from semisonic.distributed import watchdog as health
from semisonic.distributed.consistency import Diverged, RanksDiffer
from semisonic.distributed.failures import SUSPICION, failure_from, failure_of
from semisonic.distributed.heartbeat import (
    FIRST,
    Failure,
    FailureKind,
    Heartbeat,
    HeartbeatClient,
    Phase,
    Position,
)
from semisonic.distributed.watchdog import TRANSITIONS, HealthConfig, State, StateMachine, Watchdog
from semisonic.runs.run import exit_code
from semisonic.schema import ExitCode, UserError


class FakeClient:
    """What a rank of two hears, as the test says; nothing is sent."""

    interval = 1.0

    def __init__(self, rank: int):
        self.posted: list[Failure] = []
        self.failure: Failure | None = None
        self.disconnected = self.closed = self.reported = False
        self.exchanges = 0
        self.heartbeats = dict.fromkeys(range(2 if rank == 0 else 1), FIRST)

    def hear(self, suspects: bool = False) -> None:
        """A new sign of life of every rank that this one hears."""
        self.exchanges += 1
        new = Heartbeat(self.exchanges, Position(7, Phase.STEP, 20), 0.0, suspects)
        self.heartbeats = dict.fromkeys(self.heartbeats, new)

    def post(self, failure: Failure) -> None:
        self.posted.append(failure)

    def mark_reported(self) -> None:
        self.reported = True
        self.heartbeats = {rank: heard._replace(left=True) for rank, heard in self.heartbeats.items()}

    def leave(self) -> None:
        self.closed = True


LOST = failure_of(FailureKind.LOST, {1: FIRST}, 20)


class Watched:
    """A watchdog of one rank of two whose thread does not run, and what it has done to its process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rank: int = 1, heartbeat: float = 20.0):
        self.client = FakeClient(rank)
        cfg = HealthConfig.model_construct(heartbeat=heartbeat, progress=900.0)
        self.watchdog = Watchdog(cfg, exit_code)
        self.watchdog._connect(cast(HeartbeatClient, self.client), rank)
        self.done: list[object] = []
        monkeypatch.setattr(health.os, "_exit", self.done.append)
        monkeypatch.setattr(health.os, "write", lambda file, text: self.done.append(text.decode()))
        monkeypatch.setattr(health.time, "sleep", lambda seconds: None)

    @property
    def state(self) -> State:
        return self.watchdog.state

    def live(self, seconds: float, step: float = 0.5) -> None:
        """So many seconds in which the other rank gives its signs."""
        for _ in range(round(seconds / step)):
            self.client.hear()
            self.watchdog.look(step)

    def fall_silent(self, seconds: float, step: float = 0.5) -> None:
        """So many seconds in which the store answers and the other rank says nothing new."""
        for _ in range(round(seconds / step)):
            self.client.exchanges += 1
            self.watchdog.look(step)

    def fail(self) -> None:
        """The store has a failure, which rank 0 has reported."""
        self.client.failure, self.client.closed = LOST, True
        assert self.watchdog.look(0.5)


def raising(error: BaseException, then: Callable[[Watched], None] = lambda watched: None) -> Callable[[Watched], None]:
    """The course in which the main thread raises an error, and something follows."""

    def course(watched: Watched) -> None:
        watched.watchdog.handle(error)
        then(watched)

    return course


def give_up(watched: Watched) -> None:
    """The main thread's wait for what ends the process."""
    watched.watchdog.end(ValueError("in vain"))


def leave(watched: Watched, before_the_others: Callable[[Watched], None] = lambda watched: None) -> None:
    """The context ends without an error."""
    watched.watchdog._thread = threading.Thread(target=lambda: None)
    watched.watchdog._thread.start()
    watched.client.leave = lambda: before_the_others(watched)  # type: ignore[method-assign]
    watched.watchdog.__exit__(None, None, None)


def end_alone(watched: Watched) -> None:
    with pytest.raises(KeyError), Watchdog(HealthConfig(), exit_code) as watchdog:
        raise KeyError
    assert watchdog.state is State.OVER


PEERS, OWN, EVERYBODYS = RuntimeError("Connection closed by peer"), ValueError("own"), Diverged("not finite")

COURSES: dict[tuple[State, State], Callable[[Watched], None]] = {
    (State.WATCHING, State.SUSPECTING): raising(PEERS),
    (State.WATCHING, State.DEFERRING): raising(EVERYBODYS),
    (State.WATCHING, State.RAISED): raising(OWN),
    (State.SUSPECTING, State.RAISED): raising(PEERS, lambda watched: watched.live(12)),
    (State.DEFERRING, State.RAISED): raising(EVERYBODYS, lambda watched: watched.live(24)),
    (State.WATCHING, State.FAILING): Watched.fail,
    (State.SUSPECTING, State.FAILING): raising(PEERS, Watched.fail),
    (State.DEFERRING, State.FAILING): raising(EVERYBODYS, Watched.fail),
    (State.RAISED, State.FAILING): raising(OWN, Watched.fail),
    (State.LEAVING, State.FAILING): lambda watched: leave(watched, Watched.fail),
    (State.FAILING, State.REPORTED): Watched.fail,
    (State.WATCHING, State.LEAVING): leave,
    (State.LEAVING, State.OVER): leave,
    (State.WATCHING, State.OVER): end_alone,
    (State.SUSPECTING, State.OVER): raising(PEERS, give_up),
    (State.DEFERRING, State.OVER): raising(EVERYBODYS, give_up),
    (State.RAISED, State.OVER): raising(OWN, give_up),
}
"""What happens to a watchdog of rank 1, by the transition that it is to make."""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[State, State]]:
    """The transitions that are made."""
    found: list[tuple[State, State]] = []
    enter = StateMachine.enter

    def recorded(self: StateMachine, state: State) -> bool:
        before = self.state
        entered = enter(self, state)
        found.extend([(before, state)] if entered else [])
        return entered

    monkeypatch.setattr(StateMachine, "enter", recorded)
    return found


def test_every_transition_has_its_course():
    assert COURSES.keys() == TRANSITIONS.keys()


@pytest.mark.parametrize("transition", COURSES, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_a_watchdog_makes_the_transition(transition, made, monkeypatch: pytest.MonkeyPatch):
    in_vain = transition[1] is State.OVER  # where the main thread waits and nobody answers, it need not wait for long
    if in_vain:
        monkeypatch.setattr(health, "CHECKPOINT_WAIT", 0.0)
        monkeypatch.setattr(health, "GRACE", 0.0)
    COURSES[transition](Watched(monkeypatch, heartbeat=0.0 if in_vain else 20.0))
    assert transition in made and set(made) <= TRANSITIONS.keys()


def test_what_the_table_does_not_have_does_not_happen():
    for before, after in itertools.product(State, State):
        machine = StateMachine()
        machine.state = before
        assert machine.enter(after) == ((before, after) in TRANSITIONS)
        assert machine.state is (after if (before, after) in TRANSITIONS else before)


def test_a_suspicion_waits_for_the_heartbeats_and_then_gives_way(monkeypatch: pytest.MonkeyPatch):
    """The peer lives, so the error was this rank's own: posted after a bounded time, and only then."""
    watched = Watched(monkeypatch)
    watched.watchdog.activity.enter(Phase.STEP, 7)
    watched.watchdog.handle(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert watched.watchdog._heartbeat(3).suspects
    watched.live(SUSPICION + 2 * health.GRACE)
    assert watched.state is State.SUSPECTING and not watched.client.posted
    watched.live(0.5)
    (own,) = watched.client.posted
    assert (own.rank, own.step, own.phase, own.code) == (1, 7, "in the step", 1)
    assert own.lines == ["RuntimeError: mat1 and mat2 shapes cannot be multiplied"]
    assert not watched.done  # the process ends once the store says that it failed by this


@pytest.mark.parametrize(("suspected", "seconds"), [(False, 20.0), (True, SUSPICION)])
def test_a_rank_that_falls_silent_is_lost_sooner_where_a_collective_failed(
    monkeypatch, suspected: bool, seconds: float
):
    watched = Watched(monkeypatch, rank=0)
    watched.live(3)
    if suspected:
        watched.watchdog.handle(RuntimeError("Connection closed by peer"))
    watched.fall_silent(seconds)
    assert not watched.client.posted
    watched.fall_silent(1)
    posted = watched.client.posted[0]
    assert (posted.kind, posted.ranks, posted.code) == ("lost", [1], ExitCode.LOST)
    assert posted.lines[0].startswith(
        f"rank 1 has not answered for {seconds:g} s; its last sign was step 7, in the step;"
    )


def test_rank_0_hears_of_the_suspicion_of_another(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch, rank=0)
    watched.client.hear(suspects=True)
    watched.fall_silent(SUSPICION + 1)
    assert watched.state is State.WATCHING and watched.client.posted[0].kind == "lost"


def test_a_rank_reports_the_loss_of_rank_0_itself(monkeypatch: pytest.MonkeyPatch):
    """The store is rank 0's: nothing can be posted."""
    killed = []
    monkeypatch.setattr(health, "kill_local_ranks", killed.append)
    watched = Watched(monkeypatch)
    watched.live(2)
    watched.client.disconnected = True
    assert watched.watchdog.look(0.5) and watched.state is State.REPORTED
    line, code = watched.done
    assert line.startswith("error: rank 0 has closed its connection; its last sign was step 7, in the step;")
    assert code == 4 and killed == [[0]] and not watched.client.posted


def test_a_killed_rank_is_named_with_its_signal(monkeypatch: pytest.MonkeyPatch):
    """At once, by the first rank of its host that is left; not where it had left in order, whatever it died of."""
    monkeypatch.setattr(health, "kill_local_ranks", lambda ranks: None)
    first = Watched(monkeypatch, rank=0)
    first.live(2)
    siblings = first.watchdog._siblings
    siblings.ranks, siblings.killed = [1], {1: "SIGKILL"}
    first.watchdog.look(0.5)
    (failure,) = first.client.posted
    assert (failure.kind, failure.ranks, failure.code) == ("lost", [1], 4)
    assert failure.reason.startswith("rank 1 was killed by SIGKILL (out of memory?); its last sign was step 7, in the ")
    first.client.posted.clear()
    first.client.heartbeats = {rank: heard._replace(left=True) for rank, heard in first.client.heartbeats.items()}
    first.watchdog.look(0.5)
    assert not first.client.posted

    for rank, posts in ((2, 1), (3, 0)):  # of a host with ranks 2, 3 and 4
        other = Watched(monkeypatch, rank=rank)
        other.watchdog.activity.enter(Phase.STEP, 7)
        siblings = other.watchdog._siblings
        siblings.ranks, siblings.killed = sorted({2, 3, 4} - {rank}), {4: "SIGSEGV"}
        other.live(2)
        assert [failure.reason.partition(";")[0] for failure in other.client.posted[:1]] == [
            "rank 4 was killed by SIGSEGV at about step 7"
        ] * posts


def test_a_rank_reports_the_kill_of_rank_0_itself(monkeypatch: pytest.MonkeyPatch):
    killed = []
    monkeypatch.setattr(health, "kill_local_ranks", killed.append)
    watched = Watched(monkeypatch)
    watched.live(2)
    watched.watchdog._siblings.ranks, watched.watchdog._siblings.killed = [0], {0: "SIGKILL"}
    assert watched.watchdog.look(0.5) and watched.state is State.REPORTED
    assert watched.done[0].startswith(
        "error: rank 0 was killed by SIGKILL (out of memory?); its last sign was step 7, in "
    )
    assert watched.done[1] == 4 and killed == [[0]] and not watched.client.posted


def test_rank_0_reports_the_error_of_another_and_tells_that_it_has(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch, rank=0)
    noted = []
    watched.watchdog._writers.append(lambda *what: not noted.append(what))
    watched.client.failure = failure_from(UserError(["one", "two"]), 1, Position(7, Phase.STEP, 20), 2)
    assert watched.watchdog.look(0.5) and watched.client.reported
    assert watched.done == ["error: one\nerror: two (rank 1, step 7, in the step)\n", 2]
    assert noted == [(7, "UserError: one\ntwo", 2)]


def test_a_rank_that_is_not_to_report_says_nothing(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch)
    watched.fail()
    assert watched.done == [ExitCode.LOST]


def test_what_all_ranks_find_is_reported_by_rank_0_once_its_checkpoint_is_written(monkeypatch: pytest.MonkeyPatch):
    """Another rank that finds it earlier must not end the job, and with it the checkpoint in flight."""
    other, first = Watched(monkeypatch), Watched(monkeypatch, rank=0)
    other.watchdog.handle(EVERYBODYS)
    other.live(health.CHECKPOINT_WAIT)
    assert other.state is State.DEFERRING and not other.client.posted
    first.watchdog.handle(EVERYBODYS)
    assert first.state is State.RAISED and first.client.posted[0].by_all_ranks


def test_an_error_after_the_failure_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    for error in (PEERS, OWN, EVERYBODYS):
        watched = Watched(monkeypatch)
        watched.fail()
        watched.watchdog.handle(error)
        assert watched.state is State.REPORTED and not watched.client.posted


def test_a_failure_that_a_leaving_rank_meets_is_reported_before_it_goes_on(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch)

    def look_late() -> None:
        threading.Event().wait(0.2)
        watched.watchdog.look(0.5)

    def meet() -> None:
        watched.client.failure, watched.client.closed = LOST, True

    watched.watchdog._thread = threading.Thread(target=look_late)
    watched.watchdog._thread.start()
    watched.client.leave = meet  # type: ignore[method-assign]
    watched.watchdog.__exit__(None, None, None)
    assert watched.state is State.REPORTED and watched.done == [ExitCode.LOST]


def test_a_job_ends_where_nobody_can_read_why(monkeypatch: pytest.MonkeyPatch):
    def gone(file: int, text: bytes) -> None:
        raise OSError(errno.EIO, "the terminal is closed")

    watched = Watched(monkeypatch, rank=0)
    monkeypatch.setattr(health.os, "write", gone)
    watched.client.failure = failure_from(ValueError("a bug"), 1, Position(7, Phase.STEP, 20), 1)
    assert watched.watchdog.look(0.5) and watched.client.reported and watched.done == [1]


def test_the_end_of_a_job_waits_for_the_checkpoint_in_flight(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch)
    watched.watchdog.wait_for_checkpoint = lambda seconds: watched.done.append(seconds)
    watched.fail()
    assert watched.done == [health.CHECKPOINT_WAIT, ExitCode.LOST]


def test_a_single_process_that_is_stuck_ends(monkeypatch: pytest.MonkeyPatch):
    watched = Watched(monkeypatch)
    watched.watchdog._connect(None, 0)
    watched.watchdog.activity.enter(Phase.DATA, 7)
    for _ in range(1801):
        assert not watched.watchdog.look(0.5)
    assert watched.watchdog.look(0.5)
    assert watched.done[0].startswith(
        "error: rank 0 has not gone on for 900 s; its last sign was step 7, waiting for data;"
    )


def test_a_single_process_raises_and_records_its_own_errors():
    recorded: list[tuple[int, str, int]] = []

    def write(*what) -> bool:
        recorded.append(what)
        return True

    with pytest.raises(Diverged), Watchdog(HealthConfig(), exit_code) as watchdog, watchdog.recording(write):
        watchdog.activity.enter(Phase.STEP, 12)
        raise Diverged("not finite")
    assert recorded == [(12, "Diverged: not finite", 3)]
    assert watchdog.state is State.OVER and not watchdog._thread.is_alive()
    assert [exit_code(error("")) for error in (RanksDiffer, UserError, KeyboardInterrupt, ValueError)] == [4, 2, 130, 1]
