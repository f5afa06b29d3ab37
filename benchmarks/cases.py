"""Inputs and surroundings that a training program gets wrong: each command on an old checkout and on a new one.

    python benchmarks/cases.py --old OLD --new NEW [--only C5 S1] [--jobs 2] [--out benchmarks/results/cases-cpu.json]

`case_rows.py` has the commands, what the old checkout does with them, and what is right. Every command runs in an empty
folder of its own, for a limited time, with the sources of its checkout alone. Where only one of OLD and NEW is given,
the outcomes of the other one stay as FILE has them. The exit code is 1 where an outcome of NEW is not right.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import measure
from case_checks import Expected, Outcome
from case_inputs import MAKERS
from case_rows import CASES, PRELUDE, Case

SEED = 0
"""Of the commands' runs: the default of the field `seed`, which none of them gives."""
LAST = 10
"""Lines of what a command printed that are kept."""
LINE = 400
"""Characters of each that are kept."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, metavar="CHECKOUT", help="of the commit that gets them wrong")
    parser.add_argument("--new", type=Path, metavar="CHECKOUT", help="of the commit that is to be right")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="rows (C5) or cases (C5-leak)")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    args = parser.parse_args(argv)
    if unknown := [each for each in args.only if not any(each in (case.row, case.name) for case in CASES)]:
        parser.error(f"--only: there is no {', '.join(unknown)}")
    return args


def perform(case: Case, checkout: Path, expected: Expected) -> dict[str, Any]:
    """Runs a case and says what came of it: code, seconds, last lines, and what was not as expected."""
    with tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)  # some cases have another user run the command
        for made in case.inputs:
            (folder / "D" / made).mkdir(parents=True)
            MAKERS[made](folder / "D" / made)
        outcome = _run(case, checkout.resolve(), folder)
        problems = _problems(expected, outcome)
    lines = [line[:LINE] for line in outcome.text.splitlines() if line.strip()][-LAST:]
    return {"code": outcome.code, "seconds": round(outcome.seconds, 1), "last": lines, "problems": problems}


def _problems(expected: Expected, outcome: Outcome) -> list[str]:
    try:
        return expected.problems(outcome)
    except (OSError, KeyError, ValueError, IndexError) as error:
        return [f"what the command should have left cannot be read: {type(error).__name__}: {error}"]


def _run(case: Case, checkout: Path, folder: Path) -> Outcome:
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "TMPDIR", "USER")}
    environment |= {
        "CODE": str(checkout), "PYTHON": sys.executable, "PYTHONPATH": f"{checkout}/engine:{checkout}/kernels",
        "W": str(folder), "D": str(folder / "D"), "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    (folder / "home").mkdir()
    printed = folder / ".printed"
    with open(printed, "wb") as stream:
        begin = time.perf_counter()
        process = subprocess.Popen(
            ["bash", "-c", f"{PRELUDE}\n{case.command}"], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(case.limit)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.perf_counter() - begin
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    text = printed.read_bytes().decode(errors="replace").replace("\r", "\n")
    printed.unlink()
    for path, name in ((folder, "$W"), (sys.prefix, "$PREFIX"), (sys.base_prefix, "$BASE"), (checkout, "$CODE")):
        text = text.replace(str(path), name)
    return Outcome(code, text, folder, seconds)


def commit_of(checkout: Path) -> str:
    command = ["git", "-C", checkout, "describe", "--always", "--dirty", "--abbrev=7", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def impossible(case: Case) -> str:
    """Why this machine cannot run a case, or nothing."""
    if case.root and (os.geteuid() != 0 or not shutil.which("setpriv")):
        return "needs root and setpriv"
    return ""


def run(args: argparse.Namespace) -> dict[str, Any]:
    chosen = [case for case in CASES if not args.only or case.row in args.only or case.name in args.only]
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result.setdefault("cases", {})
    checkouts = {"old": args.old, "new": args.new}
    for case in chosen:
        entry = result["cases"].setdefault(case.name, {})
        entry |= {
            "row": case.row,
            "command": case.command,
            "inputs": case.inputs,
            "seen": case.seen,
            "right": case.right,
        }
    with ThreadPoolExecutor(args.jobs) as executor:
        for age, checkout in checkouts.items():
            if checkout is None:
                continue
            commit = {"commit": commit_of(checkout)}
            jobs = {case: executor.submit(_outcome, case, age, checkout) for case in chosen}
            for case, job in jobs.items():
                result["cases"][case.name][age] = commit | job.result()
                _report(case, age, job.result())
                if args.out:
                    _store(args.out, result)
    return result


def _outcome(case: Case, age: str, checkout: Path) -> dict[str, Any]:
    expected = case.old if age == "old" else case.new
    if expected is None:
        return {"left_out": "the command is of the new version"}
    if reason := impossible(case):
        return {"left_out": reason}
    return perform(case, checkout, expected)


def _report(case: Case, age: str, found: dict[str, Any]) -> None:
    what = found.get("left_out") or "; ".join(found["problems"]) or ("as seen" if age == "old" else "right")
    print(f"{case.name:24} {age}: {what}", flush=True)


def _store(file: Path, result: dict[str, Any]) -> None:
    import torch

    known = [case.name for case in CASES]
    kept = {name: result["cases"][name] for name in known if name in result["cases"]}
    measure.store(file, result | {"environment": measure.environment(torch.device("cpu")), "cases": kept}, [SEED])


def main() -> int:
    args = parse()
    result = run(args)
    wrong = [name for name, case in result["cases"].items() if case.get("new", {}).get("problems")]
    print(f"{len(wrong)} cases are not right: {', '.join(wrong)}" if wrong else "all outcomes are right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
