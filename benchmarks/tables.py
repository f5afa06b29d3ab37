"""The tables of docs/measured/: methods compared over seeds, on the digits and on Fashion-MNIST.

    python benchmarks/tables.py digits [--hours 1] [--processes 2] [--folder runs/tables]
    python benchmarks/tables.py fashion

400 steps of 32 + 224 images with 40 labels on the network `small`, in fp32, a core a run; what a method's recipe says
of its batch stays. On Fashion-MNIST three methods have both ways of their weak views. `digits-policies` compares the
threshold policies, `digits-weak-pass` both ways of weak views with 40 and with 20 labels, and `accuracy` is the main
job as `make accuracy` does it. It runs `semisonic compare` in FOLDER/NAME and stops it after so many hours, with
checkpoints; the same command goes on. Once all runs are finished, the tables are stored as
benchmarks/results/compare-NAME.csv, a line for each method (error, difference to supervised, intervals, cost, coverage,
precision), and compare-NAME-runs.csv, each with a file beside it that says where it comes from.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import measure
from semisonic.algorithms.registry import ALGORITHMS, BASELINE, is_pretext

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COMPARE = HERE.parent / "launch" / "compare.py"
ALIGNED = "fixmatch:addons.prior.kind=align"
COMMON = ("--steps", "400", "--precision", "fp32", "--device", "cpu", "--log.trackers", "none")
MAIN_JOB = ("--precision", "fp32", "--device", "cpu")
"""As `make accuracy`: the settings of the quick start, on all cores."""
FASHION = ("fixmatch", "flexmatch", "freematch", "softmatch", "adamatch", "simmatch", "shrinkmatch", "mixmatch")
POLICIES = ("none", "fixed", "manual:fall=0.5", "percentile-train", "percentile-held-out:data.held_out=40", "staged",
            "mixed", "percentile-train:loss=ce")  # fmt: skip
WEAK = ("fixmatch", "flexmatch", "freematch")
FILES = {"accuracy": ("digits-accuracy-cpu.csv", "digits-accuracy-runs-cpu.csv")}
"""Where the tables of a comparison are stored, if not under its name."""
NAMES = ("digits", "fashion", "digits-policies", "digits-weak-pass", "accuracy")
SEPARATE = tuple(f"{name}:algorithm.weak_pass=separate" for name in WEAK)
CODE_STOPPED = 75
"""To be run again, as a batch system's exit code EX_TEMPFAIL says."""


def asked(name: str) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Entries, seeds and further options of a comparison."""
    digits = (*COMMON, "--data", "digits", "--eval.every", "20")
    if name == "digits":
        others = [own for own in ALGORITHMS if own != BASELINE and not is_pretext(own)]
        return (BASELINE, *others, ALIGNED), (0, 1, 2, 3, 4), (*digits, "--labels", "40")
    if name == "digits-policies":
        policies = [f"policy-mixmatch:policy={policy}" for policy in POLICIES]
        return (BASELINE, "mixmatch", *policies), (0, 1, 2), (*digits, "--labels", "40")
    if name == "digits-weak-pass":
        both = [entry for name in WEAK for entry in (name, f"{name}:weak_pass=separate")]
        return tuple(both), (0, 1, 2, 3, 4), (*digits, "--labels", "40,20")
    if name == "accuracy":
        return (BASELINE, "fixmatch"), (0, 1, 2), MAIN_JOB
    data = ("--data", "fashion-mnist", "--data.root", "/usr/share/datasets/fashion-mnist")
    batch = ("--batch.labeled", "32", "--batch.unlabeled_ratio", "7")
    return (BASELINE, *FASHION, *SEPARATE), (0, 1, 2), (*COMMON, *data, *batch, "--labels", "40", "--eval.every", "100")


def fields(name: str) -> tuple[str, ...]:
    """What a comparison is asked for, but for folder and processes."""
    entries, seeds, options = asked(name)
    return (*options, "--algorithms", ",".join(entries), "--seeds", ",".join(map(str, seeds)))


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
    """Copies the tables of a finished comparison, and says beside each where it comes from."""
    about = measure.environment(torch.device("cpu"))
    targets = FILES.get(name, (f"compare-{name}.csv", f"compare-{name}-runs.csv"))
    for source, target in zip(("compare.csv", "runs.csv"), targets, strict=True):
        if not (folder / source).is_file():
            raise measure.Failed(name, f"{folder} has no {source}")
        shutil.copyfile(folder / source, results / target)
        measure.store_beside(results / target, about, asked(name)[1])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--hours", type=float, default=1.0, help="default: %(default)s")
    parser.add_argument("--processes", type=int, help="runs at a time (default: 2, of `accuracy` 1)")
    parser.add_argument("--folder", type=Path, default=Path("runs/tables"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default: benchmarks/results")
    args = parser.parse_args(argv)
    folder = args.folder / args.name
    processes = args.processes or (1 if args.name == "accuracy" else 2)
    own = ("--processes", str(processes), "--out", str(folder))
    code = compare([sys.executable, str(COMPARE), *fields(args.name), *own], args.hours)
    if code == CODE_STOPPED:
        print(f"{folder}: stopped after {args.hours:g} hours; the same command goes on")
    if code:
        return code
    return measure.exit_code(lambda: store(folder, args.name, args.results))


if __name__ == "__main__":
    sys.exit(main())
