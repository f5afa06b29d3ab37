"""From signs of life and errors to failures and messages, without threads, clocks or other processes."""

import pytest
import torch

from semisonic.distributed.consistency import Diverged
from semisonic.distributed.failures import (
    LivenessMonitor,
    failure_from,
    failure_of,
    failure_of_killed,
    format_ranks,
    furthest_behind,
    may_be_a_peers,
    report_lines,
)
from semisonic.distributed.heartbeat import FIRST, FailureKind, Heartbeat, Phase, Position
from semisonic.schema import UserError


def heartbeat(step: int, phase: Phase, moves: int = 0, number: int = 1, stalled: float = 0.0) -> Heartbeat:
    return Heartbeat(number, Position(step, phase, moves), stalled)


def test_the_message_names_rank_step_and_phase():
    (line,) = failure_of(FailureKind.LOST, {1: heartbeat(123, Phase.DATA)}, 20).lines
    assert line.startswith("rank 1 has not answered for 20 s; its last sign was step 123, waiting for data; ")
    several = {1: heartbeat(3, Phase.DATA), 2: heartbeat(3, Phase.DATA), 5: heartbeat(4, Phase.STEP)}
    (line,) = failure_of(FailureKind.STUCK, several, 0.5).lines
    assert line.startswith(
        "ranks 1, 2 and 5 have not gone on for 0.5 s; the last sign was step 3, waiting for data or step 4, in the step; "
    )
    assert "health.progress" in line
    assert format_ranks(list(range(20))) == "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"


def test_killed_ranks_are_named_with_their_signal():
    own, heard = Position(9, Phase.STEP, 40), {1: heartbeat(8, Phase.DATA), 2: heartbeat(8, Phase.DATA)}
    killed = failure_of_killed({2: "SIGKILL", 1: "SIGKILL", 3: "SIGTERM"}, heard, own)
    assert killed.ranks == [1, 2] and killed.step == 8
    assert killed.lines[0].startswith(
        "ranks 1 and 2 were killed by SIGKILL (out of memory?); the last sign was step 8, waiting for data; --resume "
    )
    assert failure_of_killed({3: "SIGSEGV"}, heard, own).reason.startswith(
        "rank 3 was killed by SIGSEGV at about step 9; "
    )


def test_those_furthest_behind_are_stuck():
    beats = {0: heartbeat(7, Phase.STEP, 30), 3: heartbeat(8, Phase.DATA, 31)}
    beats |= {rank: heartbeat(7, Phase.DATA, 29) for rank in (1, 2)}
    assert list(furthest_behind(beats)) == [1, 2]
    assert list(furthest_behind({0: heartbeat(7, Phase.STEP, 30), 1: heartbeat(6, Phase.STEP, 40)})) == [1]


def test_errors_are_told_by_type():
    """A peer's end is a plain RuntimeError over gloo and a DistError elsewhere, whatever either says."""
    assert may_be_a_peers(RuntimeError("anything"))
    assert may_be_a_peers(torch.distributed.DistBackendError("anything"))
    assert may_be_a_peers(torch.distributed.DistNetworkError("anything"))
    text = "[gloo/transport/tcp/pair.cc:561] Connection closed by peer, nccl, socket, broken pipe"
    others = (
        UserError,
        ValueError,
        OSError,
        NotImplementedError,
        RecursionError,
        torch.OutOfMemoryError,
        KeyboardInterrupt,
    )
    assert not any(may_be_a_peers(kind(text)) for kind in others)


@pytest.mark.parametrize(
    ("error", "rank", "phase", "own", "last"),
    [
        (UserError("mistake"), 0, Phase.STARTING, None, "mistake"),
        (UserError("mistake"), 1, Phase.STARTING, None, "mistake (rank 1)"),
        (UserError("mistake"), 1, Phase.STARTING, UserError("mistake"), "mistake"),
        (UserError("mistake"), 1, Phase.STARTING, UserError("another"), "mistake (rank 1)"),
        (UserError("mistake"), 0, Phase.DATA, None, "mistake (rank 0, step 9, waiting for data)"),
        (UserError("mistake"), 1, Phase.STEP, UserError("mistake"), "mistake (rank 1, step 9, in the step)"),
        (Diverged("not finite on rank 1"), 0, Phase.STEP, None, "not finite on rank 1"),
        (ValueError(), 1, Phase.STEP, None, "ValueError (rank 1, step 9, in the step)"),
        (ValueError("a\x1b[1m"), 1, Phase.STEP, None, "ValueError: a\\x1b[1m (rank 1, step 9, in the step)"),
    ],
)
def test_a_report_says_whose_the_error_is_where_that_matters(error, rank: int, phase: Phase, own, last: str):
    position = Position(9, phase, 3)
    mine = failure_from(own, 0, position, 2) if own else None
    assert report_lines(failure_from(error, rank, position, 2), mine)[-1] == last


def test_tracebacks_are_for_what_is_no_mistake_of_a_user():
    for error, debug, shown in (
        (UserError("a"), False, False),
        (UserError("a"), True, True),
        (KeyError("a"), False, True),
    ):
        assert ("Error" in failure_from(error, 0, FIRST.position, 2, debug).trace) == shown


def monitor(rank: int = 0, interval: float = 1.0) -> LivenessMonitor:
    return LivenessMonitor(rank, heartbeat=20, progress=900, interval=interval)


def test_ranks_that_went_together_are_lost_together():
    watching = monitor()
    for second in range(25):
        beats = {
            0: FIRST,
            1: heartbeat(5, Phase.STEP, number=min(second, 2)),
            2: heartbeat(5, Phase.STEP, number=min(second, 3)),
        }
        beats[3] = heartbeat(5, Phase.STEP, number=second)
        watching.listen(1.0, second + 1, beats)
        if failure := watching.find_failure(beats):
            break
    assert failure and failure.ranks == [1, 2] and second == 23  # the first has been silent for more than 20 s


def test_nobody_is_silent_while_rank_0_cannot_ask():
    watching, beats = monitor(), {0: FIRST, 1: heartbeat(5, Phase.STEP)}
    watching.listen(1.0, 1, beats)
    for _ in range(100):
        watching.listen(1.0, 1, beats)
    assert watching.silent == {1: 0.0} and watching.find_failure(beats) is None
    watching.listen(1.0, 2, beats)
    assert watching.silent == {1: 2.0}  # an answer may be as old as the interval, on both sides


def test_other_ranks_count_their_own_time_of_silence():
    """A rank whose requests are stuck in the store of a rank 0 that stands still hears nothing for as long."""
    watching, beats = monitor(rank=2), {0: heartbeat(5, Phase.STEP)}
    for _ in range(21):
        assert watching.find_failure(beats) is None
        watching.listen(1.0, 1, beats)
    watching.listen(1.0, 1, beats)
    failure = watching.find_failure(beats)
    assert failure and (failure.kind, failure.rank) == ("lost", 0)


def test_a_rank_that_has_left_is_not_lost():
    watching, beats = monitor(), {0: FIRST, 1: heartbeat(5, Phase.FINISHING)._replace(left=True)}
    for second in range(100):
        watching.listen(1.0, second + 1, beats)
    assert watching.find_failure(beats) is None and watching.others_have_gone(beats)


def test_a_loop_is_stuck_where_it_does_not_move_outside_of_start_and_end():
    watching = monitor()
    courses = ((Phase.STARTING, 0.0), (Phase.STEP, 5.0), (Phase.FINISHING, 0.0))
    for moves, (phase, stalled) in enumerate(courses, 1):
        for _ in range(6):
            watching.watch_progress(1.0, Position(3, phase, moves))
        assert watching.stalled == stalled
    stuck = {0: heartbeat(5, Phase.STEP, 9, stalled=901), 1: heartbeat(5, Phase.DATA, 8, stalled=899)}
    failure = watching.find_failure(stuck)
    assert failure and (failure.kind, failure.ranks) == ("stuck", [1])
