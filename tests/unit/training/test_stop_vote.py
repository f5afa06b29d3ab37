"""Ranks ask each other at the right pace whether to stop."""

import pytest
import torch.distributed as dist

from semisonic.training.stop_vote import StopVote


@pytest.fixture
def vote(monkeypatch: pytest.MonkeyPatch) -> StopVote:
    """Of a rank whose peers have nothing to say."""
    monkeypatch.setattr(dist, "all_reduce", lambda *_, **__: None)
    return StopVote(object())


def test_the_pace_is_that_of_the_steps_since_the_last_vote(vote: StopVote):
    vote.begin(40_000)
    vote.at -= 10.0  # 2 s a step
    assert vote.cast(40_005, None, False) == (None, False) and vote.next == 40_006
    assert vote.cast(40_005, "SIGTERM", True) == (None, False)  # not before the next vote, which all ranks know
    assert vote.cast(40_006, "SIGTERM", True) == ("SIGTERM", True)


def test_fast_steps_are_voted_on_every_hundredth_time(vote: StopVote):
    vote.begin(0)
    vote.at -= 0.001
    vote.cast(1000, None, False)
    assert vote.next == 1100


def test_what_others_say_holds(vote: StopVote, monkeypatch: pytest.MonkeyPatch):
    said = [[1.0, 20.0, 1.0]]  # max_hours, the longest wait, and a failure
    monkeypatch.setattr(dist, "all_reduce", lambda own, *_, **__: own.copy_(own.new_tensor(said.pop())))
    assert vote.cast(10, None, False) == ("max_hours", True)
    assert vote.next == 11


def test_a_rank_alone_is_heard_at_once():
    alone = StopVote(None)
    assert alone.cast(0, "SIGTERM", False) == ("SIGTERM", False) and alone.cast(0, None, True) == (None, True)
