"""On a GPU: a step of two networks never makes the host wait, and recorded as one CUDA graph it is the same step."""

import pytest

from tests.support.gpu import check_that_nothing_waits, check_that_replay_changes_nothing, make_trainer

pytestmark = pytest.mark.gpu

FIELDS = ("--algorithm", "mpl", "--steps", "100", "--algorithm.wait", "1", "--algorithm.strong", "fixmatch")


@pytest.mark.parametrize("replay", ["off", "step"])
@pytest.mark.parametrize("compiled", ["off", "whole"])
def test_a_step_does_not_synchronize(compiled: str, replay: str):
    check_that_nothing_waits(make_trainer(*FIELDS, "--compile", compiled, "--replay", replay))


def test_a_replayed_run_is_the_run():
    check_that_replay_changes_nothing("step", *FIELDS, "--algorithm.dropout", "0")
