"""Only a launcher's death ends what it has started; what a launcher is."""

import subprocess
import sys
from pathlib import Path

import pytest

from semisonic.distributed.launcher import PROGRAMS, program
from tests.support.processes import Start

CHILD = """
import sys, time
from semisonic.distributed.launcher import Launcher
from semisonic.distributed.preemption import Preemption

with Launcher() as launcher, Preemption(launcher) as preemption:
    print("begun", flush=True)
    end = time.monotonic() + float(sys.argv[1])
    while not preemption.received and time.monotonic() < end:
        time.sleep(0.01)
    print(preemption.received, flush=True)
"""
EARLY = """
import time
from semisonic.distributed.launcher import Launcher

with Launcher():
    print("begun", flush=True)
    time.sleep(60)
"""
"""A launcher's child in which nothing takes signals yet."""
PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, *sys.argv[1:]])
sys.stdin.read()
"""
NOBODY = """
import os
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
"""
"""Nobody reads what is written to stderr."""


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/bin/python3 /venv/bin/torchrun --standalone train.py", "torchrun"),
        ("python -u -X dev -m torch.distributed.run train.py", "torchrun"),
        ("/venv/bin/python3.11 /venv/bin/accelerate launch train.py", "accelerate"),
        ("python -W ignore -m accelerate.commands.launch train.py", "accelerate"),
        ("python train.py torchrun", None),
        ("python -c torchrun", None),
        ("bash -c torchrun", None),
        ("bash /venv/bin/torchrun", None),
        ("python", None),
        ("", None),
    ],
)
def test_a_launcher_is_what_its_command_line_runs(command: str, name: str | None):
    assert PROGRAMS.get(program(command.split()) or "") == name


@pytest.mark.parametrize(
    ("parent", "variable", "received"),
    [
        ("torchrun", "TORCHELASTIC_RUN_ID", "the death of its launcher torchrun"),
        ("accelerate", "ACCELERATE_MIXED_PRECISION", "the death of its launcher accelerate"),
        ("torchrun", "HOME", "None"),
        ("shell", "TORCHELASTIC_RUN_ID", "None"),
    ],
)
def test_a_launcher_s_death_is_a_reason_to_stop(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, parent: str, variable: str, received: str
):
    """And nothing else's, whatever variables it has exported."""
    (tmp_path / parent).write_text(PARENT)
    (tmp_path / "child.py").write_text(CHILD)
    for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "set")
    seconds = 0.8 if received == "None" else 20
    launcher = start(sys.executable, tmp_path / parent, tmp_path / "child.py", seconds, stdin=subprocess.PIPE)
    assert launcher.stdout is not None and launcher.stdout.readline() == "begun\n"
    launcher.kill()
    assert launcher.communicate(timeout=30)[0] == f"{received}\n"


def test_what_dies_with_its_terminal_takes_its_children_along(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
):
    """One that cannot say why it ends, ends all the same."""
    (tmp_path / "torchrun").write_text(NOBODY + PARENT)
    (tmp_path / "child.py").write_text(EARLY)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "set")
    launcher = start(sys.executable, tmp_path / "torchrun", tmp_path / "child.py", stdin=subprocess.PIPE)
    assert launcher.stdout is not None and launcher.stdout.readline() == "begun\n"
    launcher.kill()
    assert launcher.communicate(timeout=30)[0] == ""  # the pipe closes with its last writer
