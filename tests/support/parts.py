"""Parts of the first run on a GPU: small ones that run anywhere, and those that it has."""

import sys
from pathlib import Path

import gpu_parts
from gpu_parts import Machine
from run_parts import Part

PARTS = gpu_parts.plan(Machine(Path("out"), Path("work"), "a-card"))
"""Those of a machine with one GPU."""


def part(name: str, *lines: str, seconds: float = 60, least: float = 0) -> Part:
    """A part that runs a small program."""
    return Part(name, "layers", (sys.executable, "-c", "\n".join(lines)), seconds, least=least)
