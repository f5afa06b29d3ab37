"""Users' mistakes: one line each on the main process, or on every one that they happen to, and the exit code."""

import os
import sys
import warnings

import pytest

from semisonic import cli
from semisonic.distributed.consistency import Diverged
from semisonic.reporting import errors
from semisonic.schema import ExitCode, UserError


def test_the_main_process_tells_every_mistake(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANK", raising=False)
    assert errors.report_error(UserError(["a: wrong", "b: wrong too"])) == ExitCode.USER
    assert errors.report_error(Diverged("not finite")) == ExitCode.DIVERGED
    assert capsys.readouterr().err == "error: a: wrong\nerror: b: wrong too\nerror: not finite\n"


def test_other_ranks_wait_and_are_silent_unless_it_happened_to_them(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    slept: list[float] = []
    monkeypatch.setenv("RANK", "1")
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
    monkeypatch.delenv("RANK", raising=False)
    with os.fdopen(writer, "w", buffering=1) as nobody:
        monkeypatch.setattr(sys, "stderr", nobody)
        assert errors.report_error(UserError("a: wrong")) == ExitCode.USER
        monkeypatch.undo()


def test_a_warning_of_this_project_is_one_line_and_others_say_where_they_come_from():
    whole = warnings.formatwarning("old", FutureWarning, cli.__file__, 1)

    @cli.guarded
    def command(argv: list[str]) -> int:
        assert warnings.formatwarning("kept there", UserWarning, cli.__file__, 1) == "warning: kept there\n"
        assert warnings.formatwarning("a\x1b[1m", UserWarning, cli.__file__, 1) == "warning: a\\x1b[1m\n"
        assert warnings.formatwarning("old", FutureWarning, cli.__file__, 1) == whole
        assert os.__file__ in warnings.formatwarning("kept there", UserWarning, os.__file__, 1)
        return 0

    assert command([]) == 0
    assert cli.__file__ in warnings.formatwarning("kept there", UserWarning, cli.__file__, 1)


def test_an_interrupt_is_a_line_and_its_code(capfd: pytest.CaptureFixture):
    @cli.guarded
    def command(argv: list[str]) -> int:
        raise KeyboardInterrupt

    assert command([]) == ExitCode.INTERRUPTED and capfd.readouterr().err == "error: interrupted\n"
    with pytest.raises(KeyboardInterrupt):
        command(["--debug"])
