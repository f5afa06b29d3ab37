"""How the code is laid out, in numbers: rooms and arrows, the files of a step, start-up, threads, tests.

    python benchmarks/house.py                                    # everything but the tests' times, as JSON
    python benchmarks/house.py --tests test test-slow --out benchmarks/results/house.json
    python benchmarks/house.py --checkout ../older --name older --out benchmarks/results/house.json
    python benchmarks/house.py --trace                            # the files that one training step passes through

A step is traced by its calls: each function of the engine that is entered counts for its file, in order. Models and
kernels are left out, since a step leaves the engine there. Of another checkout only that is measured which needs none
of today's names: structure, start-up, trainers made by hand, modules and their test files.
"""

import argparse
import ast
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

from measure import commit, environment, store

ROOT = Path(__file__).resolve().parent.parent
COUNTED = "none: code is counted and starts are timed; nothing is drawn that matters"
EVALUATIONS = 12
HEAVY = ("torch", "triton", "nvidia.dali", "accelerate", "deepspeed", "matplotlib", "transformers")
"""Packages that take long to import; of these --help, --list and --print-config need torch alone."""
FIELDS = ["--algorithm", "fixmatch", "--device", "cpu", "--threads", "1", "--compile", "off", "--batch.labeled", "8",
          "--batch.unlabeled-ratio", "2", "--log.trackers", "none", "--no-baseline"]  # fmt: skip
"""Of the run whose step is traced and which is evaluated: small, and eager."""


def trace_step(*fields: str) -> list[str]:
    """The files that a FixMatch step on the CPU, eager, passes through: "file: functions entered there", in order.

    It changes file once less often than the list has entries. fields: others than those of the run below.
    """
    import semisonic
    from semisonic.config.command_line import resolve
    from semisonic.training.build import build_trainer

    root = Path(semisonic.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(resolve([*FIELDS, *fields, "--out", folder])[1])
        loader = trainer.loader()
        trainer.training_step(next(loader))  # the first makes what the later ones keep
        batch = next(loader)
        with recorded_calls() as entered:
            trainer.training_step(batch)
    passed = [(str(path.relative_to(root)), code.co_name) for path, code in engine_calls(entered, root)]
    return [f"{file}: {', '.join(name for _, name in group)}" for file, group in groupby(passed, lambda one: one[0])]


@contextmanager
def recorded_calls() -> Iterator[list[CodeType]]:
    """Inside, the list that it gives grows by the code of every Python function that this thread enters."""
    entered: list[CodeType] = []

    def record(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.append(frame.f_code)

    sys.setprofile(record)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def engine_calls(entered: list[CodeType], root: Path) -> Iterator[tuple[Path, CodeType]]:
    """(file, code) of those calls whose file is below the engine's folder, its models left out, and its named faults,
    of which a reader of the step needs the names alone."""
    for code in entered:
        path = Path(code.co_filename)
        if path.is_relative_to(root) and not path.is_relative_to(root / "models") and path != root / "faults.py":
            yield path, code


def start_up(root: Path, runs: int = 3) -> dict[str, Any]:
    """CPU seconds of `launch/train.py` with --help, --list and --print-config and, beside them, of `import torch`, each
    `runs` times; and which heavy packages --help loads.
    """
    listing = f"print(*[name for name in {HEAVY} if name in sys.modules])"
    code = f"import sys; sys.argv[1:] = ['--help']\nfrom semisonic import cli\ncli.main(sys.argv[1:])\n{listing}"
    return {
        **{
            f"{name}_cpu_seconds": [cpu_seconds(root, "launch/train.py", f"--{name}") for _ in range(runs)]
            for name in ("help", "list", "print-config")
        },
        "import_torch_cpu_seconds": [cpu_seconds(root, "-c", "import torch") for _ in range(runs)],
        "help_loads": run_python(root, "-c", code).splitlines()[-1].split(),
    }


def cpu_seconds(root: Path, *arguments: str) -> float:
    """User and system time of one Python process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_python(root, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def run_python(root: Path, *arguments: str) -> str:
    """What a Python process prints that runs in a checkout, with its engine and kernels; ends this one if it fails."""
    paths = os.pathsep.join(str(root / name) for name in ("engine", "kernels", "benchmarks"))
    variables = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, *arguments], cwd=root, env=variables, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)[:60]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def threads_after_evaluations() -> dict[str, int]:
    """Threads of this process before and after evaluations of a folder of images, without the garbage collector."""
    from semisonic.config.command_line import resolve
    from semisonic.training.build import build_trainer

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        write_images(images)
        fields = ["--data", "folder", "--data.root", str(images), "--data.size", "32", "--data.labels", "8",
                  "--model", "small", "--out", f"{folder}/run", "--data.workers", "1"]  # fmt: skip
        trainer = build_trainer(resolve([*FIELDS, *fields])[1])
        trainer.evaluate("ema", "test")  # what torch starts once
        gc.disable()
        before = count_threads()
        for _ in range(EVALUATIONS):
            trainer.evaluate("ema", "test")
        found = {"before": before, f"after_{EVALUATIONS}_evaluations": count_threads()}
        gc.enable()
    return found


def count_threads() -> int:
    """Threads of this process, those of libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


def write_images(folder: Path) -> None:
    """Four classes of scikit-learn's digits, 12 images of 32x32 pixels each to train and to test, as PNG files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for part, first in (("train", 0), ("test", 12)):
        for label in range(4):
            place = folder / part / str(label)
            place.mkdir(parents=True)
            for number in (digits.target == label).nonzero()[0][first : first + 12]:
                pixels = (digits.images[number] * 15).astype("uint8")
                Image.fromarray(pixels).resize((32, 32)).convert("RGB").save(place / f"{number}.png")


def hand_made_trainers(root: Path) -> list[str]:
    """Where a `Trainer` is made by hand, outside of the one function that builds them: FILE:LINE."""
    found = []
    for folder in ("engine", "benchmarks", "launch", "tests"):
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Trainer":
                    found.append(f"{path.relative_to(root)}:{node.lineno}")
    return [place for place in found if "/build.py:" not in place]


def modules_without_tests(root: Path) -> tuple[int, list[str]]:
    """How many modules engine and kernels have, and those after which no test file is named."""
    tests = {path.stem.removeprefix("test_") for path in (root / "tests").rglob("test_*.py")}
    modules = [path for name in ("engine", "kernels") for path in (root / name).rglob("*.py") if path.stem[0] != "_"]
    return len(modules), sorted(str(path.relative_to(root)) for path in modules if path.stem not in tests)


def test_seconds(targets: Sequence[str]) -> dict[str, float]:
    """Wall time, in seconds, of targets of make, such as test and test-slow, on this machine."""
    found = {}
    for target in targets:
        begin = time.perf_counter()
        subprocess.run(["make", "--no-print-directory", target], cwd=ROOT, check=True)
        found[f"make {target}"] = round(time.perf_counter() - begin, 1)
    return found


def describe_checkout(root: Path, tests: Sequence[str]) -> dict[str, Any]:
    """All that is printed of one checkout; tests: targets of make that are timed as well."""
    modules, untested = modules_without_tests(root)
    found: dict[str, Any] = {
        "measured_commit": commit(root),
        "structure": json.loads(run_python(root, str(ROOT / "benchmarks/structure.py"))),
        "start_up": start_up(root),
        "hand_made_trainers": hand_made_trainers(root),
        "modules": modules,
        "modules_without_a_test_file_of_their_name": untested,
    }
    if root == ROOT:
        passed = json.loads(run_python(root, __file__, "--trace", "--json"))
        found |= {"changes_of_file": len(passed) - 1, "step": passed}
        found["threads"] = json.loads(run_python(root, __file__, "--threads"))
        found |= {"test_seconds": test_seconds(tests)} if tests else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", action="store_true", help="only the files that one training step passes through")
    parser.add_argument("--threads", action="store_true", help=f"only the threads that {EVALUATIONS} evaluations leave")
    parser.add_argument("--json", action="store_true", help="the trace as JSON")
    parser.add_argument(
        "--tests", nargs="+", default=(), metavar="TARGET", help="also the time of these targets of make"
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="another checkout to measure, as far as it can be")
    parser.add_argument("--name", default="now", help="under which --out keeps it, beside what it holds (default: now)")
    parser.add_argument("--out", type=Path, help="a JSON file, such as benchmarks/results/house.json")
    args = parser.parse_args()
    if args.trace:
        passed = trace_step()
        print(json.dumps(passed) if args.json else "\n".join([*passed, f"{len(passed) - 1} changes of file"]))
        return
    if args.threads:
        print(json.dumps(threads_after_evaluations()))
        return
    about = environment(torch.device("cpu"))
    found = describe_checkout(args.checkout.resolve(), args.tests) | {"environment": about}
    print(json.dumps(found, indent=1))
    if args.out:
        stored = json.loads(args.out.read_text()) if args.out.exists() else {}
        store(args.out, stored | {args.name: found, "environment": about}, COUNTED)


if __name__ == "__main__":
    main()
