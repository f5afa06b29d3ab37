"""Naming a view, checking a configuration and answering the command line do not load DALI: it takes a second to import,
and the engine can be looked at where it is not installed."""

import subprocess
import sys

import pytest

LOADED = (
    'import sys; found = sorted(n for n in sys.modules if n.startswith("nvidia.dali")); assert not found, found[:3]'
)


def without_dali(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_view_is_built_and_drawn_without_dali():
    without_dali("""
import numpy as np
from semisonic.data.views.registry import Geometry, build_view, view_examples
for encoded in (False, True):
    geometry = Geometry(size=16, pad=0 if encoded else 2, flip=True, fill=(1, 2, 3), encoded=encoded)
    for spec in view_examples():
        for operations in ("dali", "kernel"):
            view = build_view(spec, geometry, operations=operations)
            view.params(np.full((3, view.uniforms), 0.5), np.full((3, 2), 20) if encoded else None)
""")


def test_a_configuration_is_checked_without_dali():
    without_dali("""
from semisonic.config.command_line import resolve
from semisonic.config.checks import find_problems
assert find_problems(resolve(["--algorithm.strong", "ctaugment", "--device", "cpu"])[1]) == []
""")


@pytest.mark.parametrize(
    "flag, expected", [("--print-config", "algorithm:"), ("--help", "--recipe"), ("--list", "usb")]
)
def test_the_command_line_answers_without_dali(flag: str, expected: str):
    shown = without_dali(f"from semisonic import cli\nassert cli.main([{flag!r}]) == 0")
    assert expected in shown
