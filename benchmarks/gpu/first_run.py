"""The first run on a GPU: finds out in one command, of about seven minutes, what works and how fast it is.

    benchmarks/gpu.sh [GROUP ...] [OPTIONS]

Each part runs in a process group of its own under a time limit, and goes on after the failure of another. OUT/log has
each one's output; a table comes last: how each part ended, its exit code, its seconds, the last error in its log.
Start with `layers`: the parts are ordered, so that the first one that fails names the layer at fault. Repair that
without the machine, then run only what failed: --only NAME,NAME. Exit code 0 if every part passed, 1 if one failed or
was left out for want of time, 2 without a GPU.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_parts import AT_ONCE, DEFAULT, GROUPS, Machine, facts_part, plan
from run_parts import Outcome, Part, run_parts, table

ROOT = Path(__file__).parent.parent.parent
LEAST = 30
"""Seconds in which anything can be found out."""


def parser() -> argparse.ArgumentParser:
    groups = "\n".join(f"  {name:8} {text}" for name, text in GROUPS.items())
    result = argparse.ArgumentParser(
        "gpu.sh", description=f"{__doc__}\ngroups:\n{groups}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: {' '.join(DEFAULT)}")
    result.add_argument("--only", metavar="NAME,...", help="only these parts, of whatever group")
    result.add_argument("--seconds", type=float, default=400, help="for all parts together (default: %(default)g)")
    out = os.environ.get("OUT", "gpu-results")
    many = "layers and tests at a time; they compile on the CPU, in three threads each (default: %(default)s)"
    result.add_argument("--at-once", type=int, default=6, metavar="N", help=many)
    result.add_argument("--out", type=Path, default=out, metavar="FOLDER", help="for results, here: %(default)s ($OUT)")
    result.add_argument("--list", action="store_true", help="print the parts and their commands, and run none")
    return result


def chosen(parts: Sequence[Part], groups: Sequence[str], only: str | None) -> list[Part]:
    """The parts asked for, in the order of the plan. Raises ValueError for a name that there is not."""
    if unknown := sorted(set(groups) - GROUPS.keys()):
        raise ValueError(f"{', '.join(unknown)}: no such group; one of {', '.join(GROUPS)}")
    names = only.split(",") if only else []
    if unknown := sorted(set(names) - {part.name for part in parts}):
        raise ValueError(f"--only {','.join(unknown)}: no such part; --list shows all")
    if names:
        return [part for part in parts if part.name in names and (not groups or part.group in groups)]
    return [part for part in parts if part.group in (groups or DEFAULT)]


def listing(parts: Sequence[Part]) -> str:
    lines = []
    for part in parts:
        lines.append(f"{part.group:8} {part.name:16} {part.seconds:4g} s  {part.tells}")
        lines.append(f"{'':8} {' '.join([*(f'{k}={v}' for k, v in part.environment.items()), *part.command])}")
    return "\n".join(lines)


def environment(work: Path) -> dict[str, str]:
    """Of every part: this checkout's packages before installed ones, and compiler caches that all parts share."""
    paths = [str(ROOT / "engine"), str(ROOT / "kernels"), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "3",  # six parts compile at a time
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TRITON_CACHE_DIR": str(work / "triton"),
    }
    return {**os.environ, **own}


def say(outcome: Outcome) -> None:
    code = "" if outcome.code is None else f", exit code {outcome.code}"
    print(f"{outcome.name}: {outcome.state}{code}, {outcome.seconds:.0f} s  {outcome.line}".rstrip(), flush=True)


def run(args: argparse.Namespace, work: Path) -> int:
    deadline = time.monotonic() + args.seconds
    out: Path = args.out.absolute()
    logs, outcomes = out / "log", list[Outcome]()
    logs.mkdir(parents=True, exist_ok=True)

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        say(outcome)

    def go(parts: Sequence[Part], at_once: int) -> None:
        run_parts(parts, at_once, deadline, logs, environment(work), ROOT, done)

    facts = out / "facts.json"
    facts.unlink(missing_ok=True)
    go([facts_part(Machine(out, work))], 1)
    print((logs / "machine.log").read_text(errors="replace"))
    if not facts.exists():
        print("error: nothing can be run on this machine", file=sys.stderr)
        return 2
    parts = chosen(
        plan(Machine(out, work, at_once=args.at_once, **json.loads(facts.read_text()))), args.groups, args.only
    )
    try:
        for group, at_once in AT_ONCE.items():
            go([part for part in parts if part.group == group], at_once or args.at_once)
    finally:
        print(f"\n{table(outcomes)}\nlogs: {logs}", flush=True)
    return 0 if all(outcome.state == "passed" for outcome in outcomes) else 1


def main(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    if args.seconds < LEAST:
        parser().error(f"--seconds {args.seconds:g}: takes at least {LEAST}")
    if args.at_once < 1:
        parser().error(f"--at-once {args.at_once}: at least one part runs")
    try:
        parts = chosen(plan(Machine(args.out, Path("WORK"), at_once=args.at_once)), args.groups, args.only)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.list:
        print(listing(parts))
        return 0
    # A limit outside of this one still leaves the table, and no process on the card.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="semisonic-gpu-", ignore_cleanup_errors=True) as work:
        return run(args, Path(work))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
