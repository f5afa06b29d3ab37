"""What can be known of the GPU path without a GPU, stored in tables, or compared with those that are stored.

    python benchmarks/without_gpu.py [PART ...] [--check] [--only CASE ...] [--jobs 2] [--results FOLDER] [--list]

Each part runs in a process of its own, several side by side, and writes benchmarks/results/without-gpu-PART.json.
With --check nothing is written. The rules of every part must hold (all compiles, no spills, one graph a role, ...). Its
numbers may not be larger than the stored ones, where they were counted with equal versions of what they depend on; with
others it says that no counts were compared. Nothing here runs on a GPU, so nothing here is a speed.
Exit code: 0 all is well, 1 a part failed or a comparison did, 2 a mistake in what was asked for.
To add a part, write a module as `aot` describes and list it in PARTS.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
for folder in (ROOT / "engine", ROOT / "kernels", HERE / "gpu"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import torch  # noqa: E402

import measure  # noqa: E402
from run_parts import Outcome, run_parts, table  # noqa: E402
from run_parts import Part as Command  # noqa: E402

PARTS = {
    "kernels": "aot.triton_kernels", "step": "aot.step", "other-steps": "aot.other_steps", "overlap": "aot.overlap",
    "recording": "aot.recording", "dali": "aot.dali_graphs", "messages": "aot.messages",
}  # fmt: skip
"""Name of a part -> its module."""
RESULTS = HERE / "results"
COUNTED = "none: generated code and messages are counted, whatever is drawn"
LIMIT = 7200.0
"""Seconds for all parts together."""

Table = dict[str, Any]


def module_of(part: str) -> Any:
    return importlib.import_module(PARTS[part])


def file_of(part: str, folder: Path) -> Path:
    return folder / f"without-gpu-{part}.json"


def names_of(part: str, only: Sequence[str]) -> tuple[str, ...]:
    """The cases of a part that are asked for, all of them where `only` is empty."""
    return tuple(name for name in module_of(part).CASES if not only or name in only)


def make_table(part: str, only: Sequence[str]) -> Table:
    """In a process of its own: the rows of a part, with what they were made by."""
    begin, module = time.monotonic(), module_of(part)
    found = measure.environment(torch.device("cpu"))  # before CUDA is mocked
    rows = module.rows(names_of(part, only))
    return {
        "kind": "without-gpu", "part": part, "about": module.ABOUT,
        "command": f"python benchmarks/without_gpu.py {part}", **found, "seconds": round(time.monotonic() - begin, 1),
        "rows": rows,
    }  # fmt: skip


def read_table(path: Path) -> Table:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise measure.Mistake([f"{path}: {error.strerror}; make it without --check"]) from error
    except json.JSONDecodeError as error:
        raise measure.Mistake([f"{path}: not JSON ({error})"]) from error
    if not isinstance(content, dict) or content.get("kind") != "without-gpu":
        raise measure.Mistake([f"{path}: no table of without_gpu.py"])
    return content


def other_versions(part: Any, new: Table, stored: Table) -> list[str]:
    """What the part's numbers depend on and is another version here than when the table was stored."""
    here, there = new["versions"], stored["versions"]
    return [
        f"{name} {here.get(name)}, the stored counts are of {there.get(name)}"
        for name in part.VERSIONS
        if here.get(name) != there.get(name)
    ]


def complaints(part: Any, new: Table, stored: Table) -> tuple[list[str], list[str]]:
    """What is worse than stored or breaks a rule, and what is to be said beside it."""
    worse = [line for name, row in new["rows"].items() for line in part.broken(name, row)]
    if others := other_versions(part, new, stored):
        return worse, [f"no counts were compared: {'; '.join(others)}"]
    for name, row in new["rows"].items():
        before = stored["rows"].get(name)
        worse += [f"{name}: is not in the stored table"] if before is None else part.grown(name, row, before)
    return worse, [f"{len(new['rows'])} rows were compared"]


def check(part: str, new: Table, folder: Path) -> list[str]:
    """The complaints about a part's new table; says what was compared."""
    worse, notes = complaints(module_of(part), new, read_table(file_of(part, folder)))
    print("\n".join(f"{part}: {line}" for line in [*worse, *notes]), flush=True)
    return worse


def broken_rules(part: str, new: Table) -> list[str]:
    module = module_of(part)
    worse = [line for name, row in new["rows"].items() for line in module.broken(name, row)]
    print("".join(f"{part}: {line}\n" for line in worse), end="", flush=True)
    return worse


def child(part: str, only: Sequence[str], into: Path) -> tuple[str, ...]:
    cases = ("--only", *only) if only else ()
    return (sys.executable, str(HERE / "without_gpu.py"), "--one", part, "--results", str(into), *cases)


def environment(caches: Path) -> dict[str, str]:
    """Of every part: one thread, this checkout's packages, no interpreter of Triton's and no launcher's variables.

    caches: a folder for compiled code, empty, so that a table never rests on what was compiled before.
    """
    own = [str(folder) for folder in (ROOT / "engine", ROOT / "kernels", HERE)]
    launcher = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in (*launcher, "TRITON_INTERPRET")}
    paths = os.pathsep.join([*own, *filter(None, [kept.get("PYTHONPATH")])])
    return kept | {
        "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TRITON_CACHE_DIR": str(caches / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
    }  # fmt: skip


def run_all(parts: Sequence[str], only: Sequence[str], jobs: int, into: Path) -> list[Outcome]:
    """Has each part write its table into a folder."""
    outcomes: list[Outcome] = []

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.state != "passed":
            log = into / "log" / f"{outcome.name}.log"
            print(log.read_text(errors="replace")[-4000:] if log.exists() else outcome.line, file=sys.stderr)

    commands = [Command(part, "", child(part, only, into), module_of(part).SECONDS) for part in parts]
    run_parts(commands, jobs, time.monotonic() + LIMIT, into / "log", environment(into), ROOT, done)
    return outcomes


def run(args: argparse.Namespace) -> None:
    parts = args.parts or list(PARTS)
    check_names(parts, args.only)
    parts = [part for part in parts if names_of(part, args.only)]
    if args.only and not args.check and args.results == RESULTS:
        raise measure.Mistake(["--only: would leave the other rows out of the stored table; with --check or --results"])
    with tempfile.TemporaryDirectory(prefix="without-gpu-") as folder:
        outcomes = run_all(parts, args.only, args.jobs, Path(folder))
        worse = [f"{outcome.name} {outcome.state}" for outcome in outcomes if outcome.state != "passed"]
        for part in parts:
            made = file_of(part, Path(folder))
            if not made.exists():
                continue
            new = read_table(made)
            worse += check(part, new, args.results) if args.check else broken_rules(part, new)
            if not args.check:
                measure.store(file_of(part, args.results), new, COUNTED, new["command"])
    print(table(outcomes))
    if worse:
        raise measure.Failed("without_gpu", "\n".join(worse))


def check_names(parts: Sequence[str], only: Sequence[str]) -> None:
    if unknown := [part for part in parts if part not in PARTS]:
        raise measure.Mistake([f"{part}: no such part; one of {', '.join(PARTS)}" for part in unknown])
    known = {name for part in parts for name in module_of(part).CASES}
    if unknown := [name for name in only if name not in known]:
        raise measure.Mistake([f"--only {name}: no such case; --list shows all" for name in unknown])


def listing(modules: Mapping[str, Any]) -> str:
    lines = []
    for name, module in modules.items():
        lines.append(f"{name:12} {module.SECONDS:5g} s  {module.ABOUT}")
        lines += [f"{'':12} {case}" for case in module.CASES]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        "without_gpu.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("parts", nargs="*", metavar="PART", help="default: all of them")
    result.add_argument("--check", action="store_true", help="compare with the stored tables, and write none")
    result.add_argument("--only", nargs="+", default=[], metavar="CASE", help="of the parts, only these rows")
    result.add_argument("--jobs", type=int, default=2, metavar="N", help="parts at a time (default: %(default)s)")
    result.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="default: %(default)s")
    result.add_argument("--list", action="store_true", help="print the parts and their cases, and run none")
    result.add_argument("--one", metavar="PART", help=argparse.SUPPRESS)
    return result


def main(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    if args.list:
        print(listing({part: module_of(part) for part in PARTS}))
        return 0
    if args.one:
        return measure.exit_code(
            lambda: measure.write_json(file_of(args.one, args.results), make_table(args.one, args.only))
        )
    return measure.exit_code(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
