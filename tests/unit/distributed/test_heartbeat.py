"""Signs of life: an activity counts every move, and what goes into the store comes out unchanged."""

import json

from semisonic.distributed.failures import failure_of
from semisonic.distributed.heartbeat import (
    FIRST,
    Activity,
    Failure,
    FailureKind,
    Heartbeat,
    Phase,
    Position,
)


def test_the_activity_counts_every_move():
    activity = Activity()
    activity.enter(Phase.DATA, 5)
    activity.enter(Phase.STEP)
    assert activity.now == (5, "in the step", 2)
    assert list(activity.each(Phase.EVALUATING, [1, 2])) == [1, 2]
    assert activity.now == (5, "evaluating", 5)


GONE = failure_of(FailureKind.LOST, {1: FIRST}, 20)


def test_signs_and_failures_come_out_of_the_store_as_they_went_in():
    heard = Heartbeat(3, Position(7, Phase.DATA, 20), 1.5, suspects=True)
    assert Heartbeat.from_json(json.dumps(heard)) == heard
    failure = Failure.from_json(json.dumps(GONE))
    assert failure == GONE and failure.kind is FailureKind.LOST and failure.phase is Phase.STARTING
