"""Progress: images, their rate, and the time that is left."""

import pytest

from semisonic.inference import progress
from semisonic.inference.progress import metered


def test_lines_tell_rate_and_time_left_of_what_this_start_has_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    clock = iter([0.0, 4.0, 20.0, 24.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with metered(1_000, 400, quiet=False) as meter:
        meter.add(100)  # too soon for a line
        meter.add(100)
        meter.settle(10)
        meter.add(90)
    assert meter.done == 700
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == "600/1,000 images  10 images/s  ETA 0:00:40\n"


def test_other_ranks_print_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    with metered(10, 0, quiet=True) as meter:
        meter.add(10)
    assert capsys.readouterr().err == ""
