"""What scripts share that measure this checkout of the repository beside another one."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from measure import Mistake, exit_code, store


def is_checkout(folder: Path) -> bool:
    return (folder / "engine" / "semisonic").is_dir()


def timed(checkout: Path, code: str, arguments: Sequence[str], folder: Path, **variables: str) -> dict[str, Any]:
    """A Python process that runs code with a checkout's engine and kernels: what it printed, its seconds by the clock
    ("seconds") and those of all its processors ("cpu"), imports included.

    folder: where it works. variables: of its environment. Raises `Mistake` with its last line where it fails.
    """
    path = os.pathsep.join(str(checkout / part) for part in ("engine", "kernels"))
    command, around = [sys.executable, "-c", code, *arguments], os.environ | {"PYTHONPATH": path, **variables}
    begin, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, env=around, cwd=folder)
    seconds, after = time.perf_counter() - begin, os.times()
    if done.returncode:
        raise Mistake([f"{checkout}: {(done.stderr.strip() or 'no message').splitlines()[-1]}"])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"printed": done.stdout, "seconds": seconds, "cpu": round(cpu, 6)}  # of sums, whose last digits are noise


def main(
    argv: Sequence[str],
    parse: Callable[[Sequence[str]], argparse.Namespace],
    run: Callable[[argparse.Namespace], dict[str, Any]],
    show: Callable[[dict[str, Any], Console], object],
    seed: int,
) -> int:
    """Measures, shows what was found, and stores it where `--out` says. The exit code."""

    def action() -> None:
        args = parse(argv)
        found = run(args)
        show(found, Console())
        if args.out:
            store(args.out, found, [seed])

    return exit_code(action)
