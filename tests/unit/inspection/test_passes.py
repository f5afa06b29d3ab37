"""A pass over files: the same results by processes, and what is said meanwhile."""

import os
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import pytest

from semisonic.inspection import passes
from semisonic.inspection.passes import Progress, over_files
from semisonic.schema import UserError

PATHS = [f"folder/{number}" for number in range(130)]


def test_processes_give_the_results_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(passes, "PROCESSES_FROM", 1)
    assert list(over_files(os.path.basename, PATHS, "Naming", 2)) == [str(number) for number in range(130)]
    assert list(over_files(os.path.basename, PATHS, "Naming", 1)) == [str(number) for number in range(130)]


def test_a_process_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def dying(workers: int):
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(passes, "PROCESSES_FROM", 1)
    monkeypatch.setattr(passes, "pool", dying)
    with pytest.raises(UserError, match=r"^data\.workers: "):
        list(over_files(os.path.basename, PATHS, "Naming", 2))


def test_progress_has_rate_and_time_left():
    line = Progress("Reading headers", 1_000_000).line(250_000, 50)
    assert line == "Reading headers: 250,000 of 1,000,000 (25%), 5,000 files/s, ETA 0:02:30"


def test_progress_is_shown_where_it_takes_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(passes.time, "monotonic", lambda: next(now))
    assert list(Progress("Reading", 5).over(iter("abcde"))) == list("abcde")
    assert capsys.readouterr().err == "Reading: 3 of 5 (60%), 0 files/s, ETA 0:00:08\n"
    monkeypatch.setattr(passes.time, "monotonic", lambda: 0.0)
    assert list(Progress("Reading", 5).over(iter("abcde"))) == list("abcde")
    assert capsys.readouterr().err == ""


def test_on_a_terminal_one_line_is_written_over_and_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr(passes.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(passes.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "21")
    list(Progress("Reading", 4).over(iter("abcd")))
    lines = [f"Reading: {done} of 4 ({done * 25}%)"[:20] for done in (1, 2, 3)]
    assert capsys.readouterr().err == "".join(f"\r{line}" for line in lines) + "\r" + " " * 20 + "\r"
