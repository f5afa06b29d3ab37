"""What a run's start costs, phase by phase, beside another checkout of this repository.

    python benchmarks/start_up.py [--against CHECKOUT] [--rounds 7] [--threads 1] [--out FILE] [FIELDS]

A run of one step, of the digits on the CPU unless FIELDS say otherwise, in a process of its own, over and over: as it
is, with the trial of its step known to pass by the runs before; with the trial taken; and by the other checkout. One
round of all is left untimed, and their order turns round by round. Phases are the times of the engine's functions by
their names, which both checkouts have; "everything else" is the rest of the process, from its start to its end. CPU
seconds are those of all threads: on a machine that others share they say more than the clock. Ratios are those of the
other's time to this one's, round by round: above 1, this one is faster.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import checkouts
from measure import Mistake, commit, describe, environment, ratio, spread

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ("--data", "digits", "--model", "small", "--device", "cpu", "--no-baseline", "--log.trackers", "none")
SEED = 0
"""Of every run."""
HERE, TAKEN, AGAINST = "this", "this, trial taken", "against"
WHOLE, REST = "whole process", "everything else"
PHASES = ("imports", "configuration", "data", "trial step", "network", "pipelines", "first batch", "first step",
          "evaluation", "checkpoint", "picture", REST)  # fmt: skip
DRIVER = """
import functools, gc, importlib, json, sys, time

def now():
    return time.perf_counter(), time.process_time()

took, inside = {}, []

def timed(phase, place, *names):
    # An entry of the first of these places that this checkout has; what comes inside of another phase is that one's.
    module, _, kind = place.partition(":")
    try:
        holder = importlib.import_module(module)
        holder = getattr(holder, kind) if kind else holder
        functions = [getattr(holder, name) for name in names]
    except (ImportError, AttributeError):
        return False
    for name, function in zip(names, functions):
        def call(*arguments, function=function, **options):
            if inside:
                return function(*arguments, **options)
            inside.append(phase)
            begin = now()
            try:
                return function(*arguments, **options)
            finally:
                inside.pop()
                before = took.get(phase, (0.0, 0.0))
                took[phase] = [old + new - first for old, new, first in zip(before, now(), begin)]
        setattr(holder, name, functools.wraps(function)(call))
    return True

begin = now()
gc.disable()
from semisonic import cli
import semisonic.config.command_line, semisonic.runs.run
gc.enable()
took["imports"] = [new - first for new, first in zip(now(), begin)]
for phase, places in {
    "configuration": [("semisonic.config.command_line", "resolve")],
    "data": [("semisonic.runs.run", "load", "draw_split")],
    "trial step": [("semisonic.runs.run", "try_first_step"), ("semisonic.runs.run", "_try_out")],
    "network": [("semisonic.runs.run", "build_trainer")],
    "pipelines": [("semisonic.training.trainer:Trainer", "loader")],
    "first batch": [("semisonic.data.loading.loader:Loader", "__next__")],
    "first step": [("semisonic.training.step:TrainingStep", "__call__")],
    "evaluation": [("semisonic.training.trainer:Trainer", "evaluate_all")],
    "checkpoint": [("semisonic.training.trainer:Trainer", "save")],
    "picture": [("semisonic.training.trainer:Trainer", "draw")],
}.items():
    if not any(timed(phase, *place) for place in places):
        sys.exit(f"{phase}: this checkout has none of {', '.join(place[0] for place in places)}")
code = cli.main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(took, file)
sys.exit(code)
"""

Reading = dict[str, tuple[float, float]]
"""Seconds and CPU seconds of each phase, and of the whole process."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("start_up.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--against", type=Path, help="another checkout of this repository")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    args, fields = parser.parse_known_args(argv)
    mistakes = []
    if args.rounds < 1:
        mistakes.append(f"--rounds {args.rounds}: at least 1")
    if args.threads < 1:
        mistakes.append(f"--threads {args.threads}: at least 1")
    if args.against and not checkouts.is_checkout(args.against):
        mistakes.append(f"--against {args.against}: no checkout of this repository")
    if mistakes:
        raise Mistake(mistakes)
    args.fields = [*DIGITS, *fields]
    return args


def started(checkout: Path, fields: Sequence[str], threads: int, place: Path, cache: Path) -> Reading:
    """One run in a process of its own, in a folder of its own below `place`."""
    with tempfile.TemporaryDirectory(dir=place) as own:
        folder = Path(own)
        arguments = [
            str(folder / "phases.json"), *fields, "--steps", "1",
            "--seed", str(SEED), "--threads", str(threads), "--out", str(folder / "run"),
        ]  # fmt: skip
        variables = {"OMP_NUM_THREADS": str(threads), "XDG_CACHE_HOME": str(cache)}
        whole = checkouts.timed(checkout, DRIVER, arguments, folder, **variables)
        found: Reading = {name: tuple(took) for name, took in json.loads((folder / "phases.json").read_text()).items()}
    seconds, cpu = whole["seconds"], whole["cpu"]
    known = [sum(took[kind] for took in found.values()) for kind in range(2)]
    return {**found, REST: (seconds - known[0], cpu - known[1]), WHOLE: (seconds, cpu)}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All variants in turn."""
    variants = {HERE: (ROOT, args.fields), TAKEN: (ROOT, [*args.fields, "--trial", "on"])}
    if args.against:
        variants[AGAINST] = (args.against.resolve(), args.fields)
    readings: dict[str, list[Reading]] = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as cache:
        for number in range(args.rounds + 1):
            names = list(variants) if number % 2 else list(reversed(variants))
            for name in names:
                checkout, fields = variants[name]
                reading = started(checkout, fields, args.threads, Path(place), Path(cache))
                if number:
                    readings[name].append(reading)
    return result(args, readings)


def result(args: argparse.Namespace, readings: dict[str, list[Reading]]) -> dict[str, Any]:
    seconds: dict[str, dict[str, Any]] = {}
    ratios: dict[str, Any] = {}
    for kind, what in enumerate(("seconds", "cpu seconds")):
        for phase in (*PHASES, WHOLE):
            columns = {
                name: [reading.get(phase, (0.0, 0.0))[kind] for reading in own] for name, own in readings.items()
            }
            seconds[f"{phase}, {what}"] = {name: spread(values) for name, values in columns.items()}
        whole = {name: [reading[WHOLE][kind] for reading in own] for name, own in readings.items()}
        for name in whole.keys() - {HERE}:
            ratios[f"{name}, {what}"] = ratio(whole[name], whole[HERE])
    return {
        "kind": "start-up",
        "configuration": {"fields": args.fields, "threads": args.threads},
        "against": commit(args.against) if args.against else None,
        **environment(torch.device("cpu")),
        "rounds": args.rounds,
        "seconds": seconds,
        "ratios": dict(sorted(ratios.items())),
    }


def show(found: dict[str, Any], console: Console) -> None:
    names = list(found["seconds"][f"{WHOLE}, seconds"])
    table = Table(title=f"A run of one step, medians of {found['rounds']} rounds: CPU seconds / seconds by the clock")
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for phase in (*PHASES, WHOLE):
        kinds = [found["seconds"][f"{phase}, {what}"] for what in ("cpu seconds", "seconds")]
        table.add_row(phase, *(" / ".join(f"{kind[name]['median']:.2f}" for kind in kinds) for name in names))
    console.print(table)
    for name, own in found["ratios"].items():
        console.print(
            f"{name}: {own['median']:.2f} ({own['min']:.2f} to {own['max']:.2f}) of this one's", highlight=False
        )
    console.print(describe(found), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(checkouts.main(sys.argv[1:], parse, run, show, SEED))
