"""Ends launchers over and over and looks at what they leave: no process, and a checkpoint that the run goes on from.

    python tests/dist/launchers.py [--cases 10] [--out FILE.json]

Each case starts the real command line under a launcher, waits for a checkpoint, sends the launcher alone SIGTERM or
SIGKILL, and counts what still runs. The last checkpoint is read, checksums included, and the run is resumed for a step.
Exit code 1 if anything was left running after 30 s, or did not go on.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from semisonic.checkpoint import format as checkpoints  # noqa: E402
from tests.support.processes import Start, processes_of, starting, wait_for  # noqa: E402

FIELDS = ("--device", "cpu", "--threads", "1", "--model", "small", "--batch.labeled", "8", "--batch.unlabeled-ratio", "2",
          "--no-baseline", "--steps", "100000", "--checkpoint.every", "10", "--eval.every", "100000", "--log.every", "50",
          "--log.trackers", "none")  # fmt: skip
SEED = 0
"""Of every run: the default of the field `seed`."""
LIMIT = 30.0
"""Seconds after which nothing may run any more."""
ACCELERATE = "accelerate launch --config_file launch/accelerate"
LAUNCHERS = {
    "accelerate, 1 process": f"{ACCELERATE}/single-gpu.yaml",
    "accelerate, 2 processes": f"{ACCELERATE}/multi-gpu.yaml --num_processes 2 --main_process_port 0",
    "torchrun, 2 processes": "torchrun --standalone --nproc_per_node 2",
}


class Case(NamedTuple):
    """A launcher of `LAUNCHERS`, and the signal that it gets."""

    launcher: str
    signal: signal.Signals


CASES = [
    Case("accelerate, 1 process", signal.SIGKILL),
    Case("torchrun, 2 processes", signal.SIGKILL),
    Case("accelerate, 1 process", signal.SIGTERM),
    Case("torchrun, 2 processes", signal.SIGTERM),
    Case("accelerate, 2 processes", signal.SIGKILL),
    Case("accelerate, 2 processes", signal.SIGTERM),
]
"""All, those with the most to go wrong first; a campaign of more repeats them."""


def end(case: Case, folder: Path, start: Start) -> dict[str, Any]:
    """What a launcher's end has left of its run in a folder. The last checkpoint is read, and is that of the end."""
    program, *options = LAUNCHERS[case.launcher].split()
    command = [Path(sys.executable).with_name(program), *options, "launch/train.py", *FIELDS, "--out", folder]
    log = folder.with_suffix(".log")
    with log.open("w") as printed:
        launcher = start(*command, stdout=printed)
    wait_for(folder / "checkpoints" / "latest", launcher)
    launcher.send_signal(case.signal)
    begin = time.monotonic()
    launcher.wait(timeout=LIMIT + 30)
    while (left := processes_of(folder)) and time.monotonic() - begin < LIMIT:
        time.sleep(0.05)
    status = json.loads((folder / "status.json").read_text())
    found = checkpoints.latest(folder / "checkpoints")
    assert found is not None and checkpoints.load_checkpoint(found).state["step"] == status["step"]
    return {
        "launcher": case.launcher,
        "signal": case.signal.name,
        "seconds": round(time.monotonic() - begin, 1),
        "left": len(left),
        "code": status["exit_code"],
        "reason": status["reason"],
        "step": status["step"],
    }


def resume(folder: Path, start: Start) -> int:
    """Goes on for a step; returns the step it came to."""
    script = ROOT / "launch" / "train.py"
    again = start(sys.executable, script, "--resume", "--out", folder, "--max-hours", "1e-9")
    printed = again.communicate(timeout=300)[0]
    assert again.returncode == 0 and "Resumed from" in printed, printed[-2000:]
    return int(json.loads((folder / "status.json").read_text())["step"])


def run(case: Case, folder: Path) -> dict[str, Any]:
    """A case's outcome, with the step that the run came to when it went on."""
    with starting(folder) as start:
        outcome = end(case, folder, start)
        return outcome | ({} if outcome["left"] else {"resumed": resume(folder, start)})


def good(outcome: dict[str, Any]) -> bool:
    return outcome["left"] == 0 and outcome["code"] == 75 and outcome["resumed"] == outcome["step"] + 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10, help="how many launchers are ended")
    parser.add_argument("--out", type=Path, help="a JSON file for the outcome")
    options = parser.parse_args()
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as root:
        for number in range(options.cases):
            done.append(run(CASES[number % len(CASES)], Path(root, f"run-{number}")))
            print(json.dumps(done[-1]), flush=True)
    bad = [outcome for outcome in done if not good(outcome)]
    slowest = max(outcome["seconds"] for outcome in done)
    print(f"{len(done)} launchers ended, {len(bad)} of them badly; all processes gone within {slowest} s")
    if options.out:
        import torch

        from measure import environment, store

        found = {"environment": environment(torch.device("cpu")), "launchers ended": len(done), "bad": len(bad)}
        found |= {"slowest, seconds": slowest, "limit, seconds": LIMIT, "cases": done}
        store(options.out, found, [SEED])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
