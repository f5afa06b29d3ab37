"""The tables of docs/use/comparing.md: every method on the digits, some on Fashion-MNIST, compared over seeds.

    python benchmarks/tables.py digits [--hours 1] [--processes 2] [--folder runs/tables]
    python benchmarks/tables.py fashion

400 steps of 32 + 224 images with 40 labels on the network `small`, in fp32, a core a run; what a method's recipe says
of its batch stays. On Fashion-MNIST three methods have both ways of their weak views. It runs `semisonic compare` in
FOLDER/NAME and stops it after so many hours, with checkpoints; the same command goes on. Once all runs are finished,
the tables are stored as benchmarks/results/compare-NAME.csv, a line for each method (error, difference to supervised,
intervals, cost, coverage, precision), and compare-NAME-runs.csv.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import measure
from semisonic.algorithms.registry import ALGORITHMS, BASELINE, is_pretext

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COMPARE = HERE.parent / "launch" / "compare.py"
ALIGNED = "fixmatch:addons.prior.kind=align"
COMMON = ("--labels", "40", "--steps", "400", "--precision", "fp32", "--device", "cpu", "--log.trackers", "none")
FASHION = ("fixmatch", "flexmatch", "freematch", "softmatch", "adamatch", "simmatch", "shrinkmatch", "mixmatch")
SEPARATE = tuple(f"{name}:algorithm.weak_pass=separate" for name in ("fixmatch", "flexmatch", "freematch"))
CODE_STOPPED = 75
"""To be run again, as a batch system's exit code EX_TEMPFAIL says."""


def fields(name: str) -> tuple[str, ...]:
    """What a comparison is asked for, but for folder and processes."""
    if name == "digits":
        others = [own for own in ALGORITHMS if own != BASELINE and not is_pretext(own)]
        entries = ",".join([BASELINE, *others, ALIGNED])
        return (*COMMON, "--data", "digits", "--algorithms", entries, "--seeds", "0,1,2,3,4", "--eval.every", "20")
    data = ("--data", "fashion-mnist", "--data.root", "/usr/share/datasets/fashion-mnist")
    batch = ("--batch.labeled", "32", "--batch.unlabeled_ratio", "7")
    entries = ",".join([BASELINE, *FASHION, *SEPARATE])
    return (*COMMON, *data, *batch, "--algorithms", entries, "--seeds", "0,1,2", "--eval.every", "100")


def compare(command: Sequence[str], hours: float) -> int:
    """The exit code of a comparison, which is stopped after so many hours."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait(3600 * hours)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
            return CODE_STOPPED


def store(folder: Path, name: str, results: Path) -> None:
    for source, target in (("compare.csv", f"compare-{name}.csv"), ("runs.csv", f"compare-{name}-runs.csv")):
        if not (folder / source).is_file():
            raise measure.Failed(name, f"{folder} has no {source}")
        shutil.copyfile(folder / source, results / target)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["digits", "fashion"])
    parser.add_argument("--hours", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("runs/tables"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    args = parser.parse_args(argv)
    folder = args.folder / args.name
    own = ("--processes", str(args.processes), "--out", str(folder))
    code = compare([sys.executable, str(COMPARE), *fields(args.name), *own], args.hours)
    if code == CODE_STOPPED:
        print(f"{folder}: stopped after {args.hours:g} hours; the same command goes on")
    if code:
        return code
    return measure.exit_code(lambda: store(folder, args.name, args.results))


if __name__ == "__main__":
    sys.exit(main())
