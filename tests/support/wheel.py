"""An environment of somebody who installs the wheel, outside of any checkout."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.processes import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
LAUNCHERS = {"torchrun": "torch.distributed.run", "accelerate": "accelerate.commands.accelerate_cli"}
"""Commands of packages that the environment shares with this one, and their modules."""
OURS = ("PYTHONPATH", "RANK", "WORLD_SIZE", "TRITON_INTERPRET", "XDG_STATE_HOME", "XDG_CACHE_HOME")
"""Variables of the tests that nobody else has."""


def build(source: Path, folder: Path) -> Path:
    """The wheel of a tree of the project, made in a folder; skips where nothing can build one."""
    own_backend = importlib.util.find_spec("hatchling") is not None
    isolation = ["--no-build-isolation"] if own_backend else []
    built = subprocess.run(
        [*PIP, "wheel", str(source), "--no-deps", *isolation, "-w", str(folder)], capture_output=True, text=True
    )
    if built.returncode and not own_backend and "hatchling" in built.stderr:
        pytest.skip("the wheel's build backend, hatchling, is neither installed nor to be had")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("semisonic-*.whl")
    return wheel


def install(folder: Path) -> Path:
    """The bin folder of a virtual environment with the wheel, and beside it what this one has, but not what is installed
    as editable."""
    wheel = build(ROOT, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # A line of a .pth file is a place to look in; .pth files in that place, of editable packages, do not count.
    (folder / "venv/lib" / version / "site-packages/here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    programs = folder / "venv/bin"
    subprocess.run(
        [*PIP, "--python", str(programs / "python"), "install", "--no-deps", "--no-index", wheel], check=True
    )
    for name, module in LAUNCHERS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{programs}/python" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    return programs


def environment(programs: Path, home: Path) -> dict[str, str]:
    """Variables of a person whose home is empty: the commands of the environment, and nothing of the tests."""
    home.mkdir(exist_ok=True)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name not in OURS and not name.startswith("PYTEST")}
    return kept | {"PATH": path, "HOME": str(home), "VIRTUAL_ENV": str(programs.parent), "OMP_NUM_THREADS": "1"}
