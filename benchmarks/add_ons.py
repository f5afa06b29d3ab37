"""What each add-on adds to a step: FixMatch with it against FixMatch without any, side by side in one process.

    python benchmarks/add_ons.py [--model small] [--labeled 32] [--ratio 7] [--rounds 7] [--steps 40] [--out FILE]

Every variant takes its steps in turn in every round, so that noise of the machine meets all of them. A ratio is the
time of a step without add-ons over that with one: 1 = it costs nothing.
"""

import argparse
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
from semisonic.contract import Batch
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer

FIELDS: dict[str, list[str]] = {
    "none": ["--addons.aum.record", "off"],
    "aum": ["--addons.aum.record", "on"],
    "ctaugment": ["--addons.aum.record", "off", "--algorithm.strong", "ctaugment"],
    "auxiliary": ["--addons.aum.record", "off", "--addons.auxiliary.rotation", "1"],
    "prior": ["--addons.aum.record", "off", "--addons.prior.kind", "align"],
}
"""A variant's own fields. CTAugment also draws other strong views."""
SEED = 0
"""Of every run: the default of the field `seed`."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small", help="default: %(default)s")
    parser.add_argument("--labeled", type=int, default=32, help="labeled images of a step (default: %(default)s)")
    parser.add_argument("--ratio", type=int, default=7, help="unlabeled images for each (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=40, help="of each variant in a round (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    return parser.parse_args(argv)


def trainer_of(name: str, args: argparse.Namespace, folder: str) -> Trainer:
    shape = ["--model", args.model, "--batch.labeled", str(args.labeled), "--batch.unlabeled-ratio", str(args.ratio)]
    fields = [*shape, "--no-baseline", "--seed", str(SEED), "--log.trackers", "none", "--out", f"{folder}/{name}"]
    return build_trainer(resolve([*fields, *FIELDS[name]])[1])


def seconds_per_step(trainer: Trainer, batches: Sequence[Batch], steps: int) -> float:
    """Of steps on batches that are there already, so that only the step is timed."""
    device = trainer.device
    begin = time.perf_counter()
    for number in range(steps):
        trainer.training_step(batches[number % len(batches)])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begin) / steps


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step of every variant by round, and their ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in FIELDS}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: trainer_of(name, args, folder) for name in FIELDS}
        batches: dict[str, list[Batch]] = {name: [] for name in FIELDS}
        for name, trainer in trainers.items():
            with trainer.loader() as loader:
                for _ in range(3):  # the first steps make what later ones keep
                    batches[name].append(next(loader))
                    trainer.training_step(batches[name][-1])
        for _ in range(args.rounds):
            for name, trainer in trainers.items():
                seconds[name].append(seconds_per_step(trainer, batches[name], args.steps))
        device = trainers["none"].device
    alone = seconds["none"]
    return {
        "kind": "add-ons",
        "configuration": {"model": args.model, "labeled": args.labeled, "ratio": args.ratio, "steps": args.steps},
        **measure.environment(device),
        "seconds": {name: measure.spread(values) for name, values in seconds.items()},
        "ratios": {f"none / {name}": measure.ratio(alone, own) for name, own in seconds.items() if name != "none"},
    }


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    result = run(args)
    table = Table(
        "add-on", "ms a step", "without / with", title=f"{args.model}, {args.labeled} + {args.labeled * args.ratio}"
    )
    for name, own in result["seconds"].items():  # type: ignore[attr-defined]
        ratio = result["ratios"].get(f"none / {name}")  # type: ignore[attr-defined]
        told = f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})" if ratio else ""
        table.add_row(name, f"{1000 * own['median']:.1f}", told)
    Console().print(table)
    if args.out:
        measure.store(args.out, result, [SEED])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
