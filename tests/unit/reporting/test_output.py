"""A reader that goes away takes nothing along; every other failure to write is one."""

import io
import os
import subprocess
import sys

import pytest

from semisonic.reporting.console import Console
from semisonic.reporting.output import lasting, show_everything

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


def test_a_full_disk_is_an_error():
    full = os.open("/dev/full", os.O_WRONLY)
    with os.fdopen(full, "w") as file:
        lasting(file).write("what does not fit")
        with pytest.raises(OSError, match="No space left"):
            lasting(file).flush()
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), full)  # for what is still to be written


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
