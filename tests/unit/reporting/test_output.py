"""Output that finds no place takes nothing along; it is told where it is all that a command makes."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semisonic import cli
from semisonic.reporting.console import Console
from semisonic.reporting.output import lasting, show_everything
from semisonic.schema import ExitCode

CODE = """
import sys
from rich.console import Console
from semisonic.reporting.output import lasting

console = Console(file=lasting(sys.stdout))
console.print("first")
sys.stdin.read()
for number in range(3):
    console.print("nobody reads this")
print("nor this", flush=True)
print("went on", file=sys.stderr)
"""


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_what_prints_goes_on_when_its_reader_has_gone(kind: str):
    reader, writer = os.openpty() if kind == "terminal" else os.pipe()
    command = [sys.executable, "-c", CODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        assert os.read(reader, 100).decode().strip() == "first"
        os.close(reader)
        assert process.communicate(timeout=60)[1] == "went on\n"
    assert process.returncode == 0


def test_the_console_of_a_run_goes_on(monkeypatch: pytest.MonkeyPatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        Console(main=True).print("nobody reads this")
        monkeypatch.undo()


class Full(io.StringIO):
    """Without a descriptor, as in a notebook."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_once_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    for file in (os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"), Full()):
        monkeypatch.setattr(sys, "stdout", file)
        console = Console(main=True)
        console.print("what does not fit")
        console.print("nor does this")
        assert capsys.readouterr().err == "warning: what is printed is lost from here on: No space left on device\n"
        file.close()


def test_what_is_printed_is_all_that_there_is_of_some_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    with open("/dev/full", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert cli.dispatch(["--version"]) == ExitCode.ERROR and sys.stdout is file
    assert capsys.readouterr().err == "error: what was printed is not whole: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert cli.dispatch(["--version"]) == ExitCode.OK, "a reader that wants no more is no mistake"
    assert capsys.readouterr().err == ""


def test_a_mistake_whose_telling_fails_stays_a_mistake(monkeypatch: pytest.MonkeyPatch):
    with open("/dev/full", "w", buffering=1) as file:
        monkeypatch.setattr(sys, "stderr", file)
        assert cli.dispatch(["no-such-command"]) == ExitCode.USER
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.dispatch(["no-such-command"]) == ExitCode.USER and cli.dispatch(["--version"]) == ExitCode.OK


CLOSED = """
import os, sys
from semisonic.cli import guarded

@guarded
def command(argv):
    print("to nobody")
    print("nor to anybody", file=sys.stderr)
    with open(argv[0], "w") as file:
        assert file.fileno() > 2, "what libraries print would be written into it"
        os.write(1, b"of a library")
    return 7

sys.exit(command(sys.argv[1:]))
"""


def test_output_that_was_closed_at_the_start_takes_no_file_along(tmp_path: Path):
    file = tmp_path / "file"
    command = f"exec '{sys.executable}' -c '{CLOSED}' '{file}' <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], timeout=60).returncode == 7
    assert file.read_text() == ""


def test_what_an_encoding_has_not_is_escaped(monkeypatch: pytest.MonkeyPatch):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    lasting(shown).write("é \udc80\n")
    shown.seek(0)
    assert shown.read() == "\\xe9 \\udc80\n"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    show_everything()
    print("é 日")
    sys.stdout.seek(0)
    assert sys.stdout.read() == "é \\u65e5\n"
