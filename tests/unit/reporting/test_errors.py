"""Users' mistakes: one line each on the main process, or on every one that they happen to, and the exit code."""

import errno
import os
import sys
import warnings
from pathlib import Path

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


LONG = "x" * 300
"""More than a file's name may have."""


@pytest.mark.parametrize("number", sorted(errors.REFUSALS), ids=errno.errorcode.get)
def test_what_the_system_refuses_is_a_line_that_names_the_file(number: int):
    with pytest.raises(UserError) as caught, errors.refusals_told():
        raise OSError(number, os.strerror(number), "data/cat")
    assert caught.value.messages == [f"data/cat: {os.strerror(number)}"]


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "no", "a"), OSError(errno.EACCES, "no"), ValueError()]
)
def test_what_may_be_a_mistake_of_the_program_stays_as_it_is(error: Exception):
    with pytest.raises(type(error)) as caught, errors.refusals_told():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("command", [["predict", LONG, "images"], ["evaluate", LONG], ["train", "--out", LONG]])
def test_a_name_that_is_too_long_is_a_line(command: list[str], capfd: pytest.CaptureFixture):
    assert cli.dispatch(command) == ExitCode.USER
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and LONG in lines[0] and "File name too long" in lines[0]


def test_a_working_directory_that_is_gone_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.dispatch(["train", "--list"]) == ExitCode.USER
    assert capfd.readouterr().err.startswith("error: the working directory is gone")
