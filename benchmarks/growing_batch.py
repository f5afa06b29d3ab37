"""What a growing unlabeled batch gives for its computation: error against image passes, beside a constant batch.

    python benchmarks/growing_batch.py --out FILE [--choose] [--seeds 0 1 2 3 4] [--steps 400]

FixMatch on the digits, 40 labels, 32 + 224 images a step, network `small`, one thread. An image pass is one view of one
image through the network with its backward. The budget is what the constant batch passes in `--steps` steps; a growing
batch gets as many steps as it takes to pass no more, and both also run at half of it. The learning rate's and the
batch's schedules are those of the run's own length. "strong labels": labeled images by the strong policy, too.

--choose tries the laws in `LAWS` at the whole budget, for seeds that are not the reported ones. A cell that FILE has is
not made again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.compare.rows import interval
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig
from semisonic.training.build import build_trainer

LAWS: dict[str, list[str]] = {
    "bend 0.7": ["--batch.unlabeled-stages", "8", "--batch.unlabeled-bend", "0.7"],
    "bend 0": ["--batch.unlabeled-stages", "8", "--batch.unlabeled-bend", "0"],
    "from half": ["--batch.unlabeled-stages", "2", "--batch.unlabeled-bend", "0"],
}
"""The settings that are tried."""
GROWING = ["--batch.unlabeled-schedule", "growing"]
STRONG = ["--algorithm.labeled-view", "strong"]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to read and to add to")
    parser.add_argument("--choose", action="store_true", help="try the laws instead of reporting one")
    parser.add_argument("--law", choices=LAWS, default="bend 0.7", help="the one to report (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: 0 to 4; to choose 10 to 12")
    parser.add_argument("--steps", type=int, default=400, help="of the constant batch (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--images", type=int, metavar="N", help="test images (default: all)")
    args = parser.parse_args(argv)
    args.seeds = args.seeds or (list(range(10, 13)) if args.choose else list(range(5)))
    return args


def arms(args: argparse.Namespace) -> dict[str, list[str]]:
    """What is compared: name -> fields."""
    if args.choose:
        return {law: [*GROWING, *fields] for law, fields in LAWS.items()}
    growing = [*GROWING, *LAWS[args.law]]
    return {
        "constant": [],
        "growing": growing,
        "constant, strong labels": STRONG,
        "growing, strong labels": [*growing, *STRONG],
    }


def configuration(args: argparse.Namespace, fields: Sequence[str], steps: int, seed: int, folder: str) -> RunConfig:
    run = ["--data", "digits", "--no-baseline", "--log.trackers", "none", "--device", "cpu", "--log.every", "1000000"]
    own = ["--steps", str(steps), "--seed", str(seed), "--threads", str(args.threads), "--out", folder]
    return resolve([*run, *own, *fields])[1]


def passes(cfg: RunConfig) -> int:
    """Image passes of the whole run."""
    views = cfg.views
    labeled = cfg.steps * cfg.batch.labeled * len(views.labeled)
    return labeled + cfg.unlabeled_sizes.before(cfg.steps) * len(views.unlabeled)


def steps_within(args: argparse.Namespace, fields: Sequence[str], budget: int) -> int:
    """The most steps whose passes are no more than the budget: they grow with the steps."""

    def fits(steps: int) -> bool:
        return passes(configuration(args, fields, steps, 0, "unused")) <= budget

    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def cell(args: argparse.Namespace, fields: Sequence[str], steps: int, seed: int) -> dict[str, Any]:
    """What one run comes to: final errors in per cent, passes, and the seconds of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = configuration(args, fields, steps, seed, folder)
        trainer = build_trainer(cfg)
        with trainer.loader() as loader:

            def step() -> None:
                trainer.training_step(next(loader))

            seconds, taken = measure.timed(step, trainer.device, 0.0, warm_up=0, least=steps)
        found: dict[str, Any] = {"steps": taken, "passes": passes(cfg), "seconds": seconds}
        for weights in ("ema", "raw"):
            right, count = trainer.evaluate(weights, "test", args.images).counts
            found[weights] = 100 * (1 - right / count)
    return found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"cells": []}
    result |= {"kind": "growing-batch", "environment": measure.environment(torch.device("cpu")), "law": args.law}
    whole = passes(configuration(args, [], args.steps, 0, "unused"))
    for share in (1.0,) if args.choose else (1.0, 0.5):
        for name, fields in arms(args).items():
            steps = steps_within(args, fields, round(share * whole))
            for seed in args.seeds:
                place = {"arm": name, "budget": share, "seed": seed, "chosen": args.choose}
                if any(place.items() <= known.items() for known in result["cells"]):
                    continue
                result["cells"].append(place | cell(args, fields, steps, seed))
                measure.store(args.out, result, measure.seeds_of(result["cells"]))
    return result


def show(result: dict[str, Any]) -> None:
    table = Table(title="Error of the EMA network in per cent, and its 95 % interval over seeds", title_justify="left")
    for column in ("", "budget", "steps", "image passes", "seeds", "error", "raw", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    rows: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for entry in result["cells"]:
        rows.setdefault((f"{entry['arm']}{' (choosing)' * entry['chosen']}", entry["budget"]), []).append(entry)
    for (name, budget), entries in rows.items():
        errors = [[entry[weights] for entry in entries] for weights in ("ema", "raw")]
        table.add_row(
            name, f"{budget:g}", f"{entries[0]['steps']:,}", f"{entries[0]['passes']:,}", str(len(entries)),
            *(interval(values).text() for values in errors),
            f"{statistics.median(entry['seconds'] for entry in entries):.0f}",
        )  # fmt: skip
    Console(width=140).print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
