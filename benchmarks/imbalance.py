"""What weights of classes, and drawing every class equally often, bring where classes have very different numbers.

    python benchmarks/imbalance.py [--steps 300] [--seeds 0 1 2] [--algorithms supervised fixmatch] [--out FILE]

The digits by class counts, 50 labeled images of the first class and 1 of the last (`data.imbalance` 50), all others
unlabeled; 16 + 48 images a step on the network `small`, the digits' recipe else. Each option alone, of the EMA network
after the steps on the balanced test images: the mean recall of all classes (balanced), its geometric mean, and the
mean recall of the classes with many, medium and few labels. A cell that FILE has is not made again.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.config.command_line import resolve
from semisonic.training.build import build_trainer
from semisonic.training.class_groups import FIGURES, by_class

FIELDS = (
    "--data", "digits", "--data.labels-head", "50", "--data.imbalance", "50", "--model", "small",
    "--batch.labeled", "16", "--batch.unlabeled-ratio", "3", "--no-baseline", "--log.trackers", "none",
    "--device", "cpu",
)  # fmt: skip
OPTIONS = {
    "none": (),
    "balanced weights": ("--loss.class-weights", "balanced"),
    "effective weights": ("--loss.class-weights", "effective"),
    "balanced draws": ("--batch.balanced", "true"),
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--algorithms", nargs="+", default=["supervised", "fixmatch"], help="default: %(default)s")
    parser.add_argument("--options", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="default: all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def cell(algorithm: str, option: str, seed: int, steps: int) -> dict[str, Any]:
    """The figures of one run, in percent."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fields = ["--algorithm", algorithm, "--steps", str(steps), "--seed", str(seed), "--threads", "1"]
        trainer = build_trainer(resolve([*FIELDS, *OPTIONS[option], *fields, "--out", folder])[1])
        with trainer.loader() as loader:
            for _ in range(steps):
                trainer.training_step(next(loader))
        result = trainer.evaluate("ema", "test")
    figures = by_class(result, trainer.algorithm.info.class_counts)
    found = {name: round(value, 2) for name, value in figures.items()}
    seconds = round(time.perf_counter() - begin, 1)
    return {"algorithm": algorithm, "option": option, "seed": seed, "steps": steps, **found, "seconds": seconds}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "imbalance", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    there = {(own["algorithm"], own["option"], own["seed"], own["steps"]) for own in cells}
    for seed in args.seeds:  # all options of a seed before the next: what is there early can be compared
        for algorithm in args.algorithms:
            for option in args.options:
                if (algorithm, option, seed, args.steps) not in there:
                    cells.append(cell(algorithm, option, seed, args.steps))
                    result["rows"] = rows(cells)
                    if args.out:
                        measure.store(args.out, result, measure.seeds_of(result["cells"]))
    return result


def rows(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and spread (standard deviation) over the seeds of each algorithm with each option."""
    found = []
    for algorithm, option, steps in dict.fromkeys((own["algorithm"], own["option"], own["steps"]) for own in cells):
        runs = [own for own in cells if (own["algorithm"], own["option"], own["steps"]) == (algorithm, option, steps)]
        row: dict[str, Any] = {"algorithm": algorithm, "option": option, "steps": steps, "runs": len(runs)}
        for name in FIGURES:
            values = [own[name] for own in runs]
            spread = round(statistics.stdev(values), 2) if len(values) > 1 else None
            row[name] = {"mean": round(statistics.fmean(values), 2), "spread": spread}
        found.append(row)
    return found


def show(result: dict[str, Any]) -> None:
    table = Table(title="Recall of classes in percent: mean and spread over seeds", title_justify="left")
    for column in ("algorithm", "option", "steps", "runs", *FIGURES):
        table.add_column(column, justify="left" if column in ("algorithm", "option") else "right")
    for row in rows(result["cells"]):
        figures = (text(row[name]) for name in FIGURES)
        table.add_row(row["algorithm"], row["option"], str(row["steps"]), str(row["runs"]), *figures)
    Console().print(table, highlight=False)


def text(figure: dict[str, float | None]) -> str:
    spread = figure["spread"]
    return f"{figure['mean']:.1f}" if spread is None else f"{figure['mean']:.1f} ± {spread:.1f}"


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
