"""What choosing the first labels is worth: FixMatch on digits with 20 labels, typical and diverse ones or random ones.

    python benchmarks/first_labels.py [--labels 20] [--seeds 0 1 2] [--steps 400] [--out FILE]

Images are chosen among the 1,397 training images by 32 principal components of their pixels, as `daily choose` does on
the first day; the truth is looked up for those alone. The error is that of the EMA network on the 400 test images. A
run that FILE has is not made again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import labeled_runs
import measure
import semisonic
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set
from semisonic.data.sets.splits import make_split
from semisonic.data.sets.typical import chooser

WAYS = ("typical", "random")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=400, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def configuration(way: str, labels: int) -> dict[str, Any]:
    """Fields of the run's data."""
    return {"name": "digits", "labels": labels, "labels_from": way, "absent_classes": "warn"}


def chosen(way: str, labels: int, seed: int) -> np.ndarray:
    """The true classes of the images that a run has labeled."""
    cfg = DataConfig(**configuration(way, labels))
    data = load_data_set(cfg)
    split = make_split(cfg, data.train.labels, len(data.classes), seed, typical=chooser(data.train))
    return data.train.labels[split.labeled]


def cell(way: str, labels: int, seed: int, steps: int) -> dict[str, Any]:
    """One run: its test error in per cent, and how many of the ten classes the labels show."""
    with tempfile.TemporaryDirectory() as folder:
        fields = labeled_runs.fields(steps, seed, Path(folder) / "run")
        result = semisonic.train(data=configuration(way, labels), quiet=True, **fields)
    classes = len(np.unique(chosen(way, labels, seed)))
    return {"error": 100 - result.metrics["test_top1"], "classes": classes}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All runs, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "first-labels", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    for seed in args.seeds:
        for way in WAYS:
            about = {"way": way, "labels": args.labels, "seed": seed, "steps": args.steps}
            if not any(about.items() <= known.items() for known in cells):
                cells.append(about | cell(way, args.labels, seed, args.steps))
            if args.out:
                measure.store(args.out, result, measure.seeds_of(result["cells"]))
    return result


def mean_error(result: dict[str, Any], way: str) -> float:
    """Over the seeds, in per cent."""
    return float(np.mean([one["error"] for one in result["cells"] if one["way"] == way]))


def show(result: dict[str, Any]) -> None:
    table = Table(title="Test error in per cent", title_justify="left")
    for column in ("way", "labels", "seed", "steps", "classes", "error"):
        table.add_column(column, justify="right")
    for one in result["cells"]:
        names = ("way", "labels", "seed", "steps", "classes")
        table.add_row(*(str(one[name]) for name in names), f"{one['error']:.2f}")
    Console().print(table, highlight=False)
    Console().print(*(f"{way}: {mean_error(result, way):.2f} %" for way in WAYS), highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
