"""Users' mistakes: one line each on the main process, or on every one that they happen to, and the exit code."""

import os
import sys

import pytest

from semisonic.distributed.consistency import Diverged
from semisonic.reporting import errors
from semisonic.schema import ExitCode, UserError


def test_the_main_process_tells_every_mistake(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(errors, "MAIN", True)
    assert errors.report_error(UserError(["a: wrong", "b: wrong too"])) == ExitCode.USER
    assert errors.report_error(Diverged("not finite")) == ExitCode.DIVERGED
    assert capsys.readouterr().err == "error: a: wrong\nerror: b: wrong too\nerror: not finite\n"


def test_other_ranks_wait_and_are_silent_unless_it_happened_to_them(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    slept: list[float] = []
    monkeypatch.setattr(errors, "MAIN", False)
    monkeypatch.setattr(errors.time, "sleep", slept.append)
    assert errors.report_error(UserError("a: wrong")) == ExitCode.USER
    assert slept == [errors.AFTER_MAIN] and capsys.readouterr().err == ""
    own = UserError("here alone")
    own.everywhere = True
    errors.report_error(own)
    assert slept == [errors.AFTER_MAIN] and capsys.readouterr().err == "error: here alone\n"


def test_a_mistake_that_nobody_reads_has_its_exit_code(monkeypatch: pytest.MonkeyPatch):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(errors, "MAIN", True)
    with os.fdopen(writer, "w", buffering=1) as nobody:
        monkeypatch.setattr(sys, "stderr", nobody)
        assert errors.report_error(UserError("a: wrong")) == ExitCode.USER
        monkeypatch.undo()
