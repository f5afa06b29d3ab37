"""How well scores find wrong given labels, in runs that memorize some of them and in runs that memorize most.

    python benchmarks/label_errors.py [--steps 400 1600] [--seeds 11 12] [--out FILE]

FixMatch on the digits, 40 labels a class of which one in ten is wrong (another class, drawn evenly), 32 + 96 images a
step on the network `small`. After the steps: average precision and the precision among as many labels as are wrong, of

    aum              the mean margin of the given label over the run, as labels/margins.parquet has it
    self-confidence  the finished EMA network's probability of the given label
    max-prob         its largest probability, which does not look at the label

and `memorized`, the share of the wrong labels that the finished network repeats. A cell that FILE has is not made
again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.config.command_line import resolve
from semisonic.curation.ranking import average_precision, precision_at_errors
from semisonic.data.sets.base import Images
from semisonic.data.sets.registry import load_data_set
from semisonic.training.build import build_trainer, draw_split
from semisonic.training.metrics import evaluation_mode
from semisonic.training.trainer import Trainer

LABELS, WRONG = 400, 40
FIELDS = (
    "--data", "digits", "--data.labels", str(LABELS), "--batch.labeled", "32", "--batch.unlabeled-ratio", "3",
    "--no-baseline", "--log.trackers", "none", "--device", "cpu",
)  # fmt: skip
SCORES = ("aum", "self-confidence", "max-prob")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[400, 1600], help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12], help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def cell(steps: int, seed: int, threads: int = 1) -> dict[str, Any]:
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        fields = ["--steps", str(steps), "--seed", str(seed), "--threads", str(threads), "--out", folder]
        cfg = resolve([*FIELDS, *fields])[1]
        data = load_data_set(cfg.data)
        split = draw_split(cfg, data)
        generator = np.random.default_rng(seed)
        wrong = generator.choice(split.labeled, WRONG, replace=False)
        labels = data.train.labels.copy()
        labels[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
        assert isinstance(data.train, Images)
        trainer = build_trainer(cfg, replace(data, train=Images(data.train.pixels, labels)), split)
        with trainer.loader() as loader:
            for _ in range(steps):
                trainer.training_step(next(loader))
        return figures(trainer, np.isin(split.labeled, wrong), steps, seed)


@torch.no_grad()
def figures(trainer: Trainer, wrong_L: np.ndarray, steps: int, seed: int) -> dict[str, Any]:
    """What the scores of a run's labeled images are worth. wrong_L: of its labels, those that are."""
    images, labeled = trainer.data.train, trainer.split.labeled
    assert isinstance(images, Images)
    label_L = torch.from_numpy(images.labels[labeled])
    pixels = torch.from_numpy(images.pixels[labeled]).permute(0, 3, 1, 2)
    with evaluation_mode(trainer.algorithm):
        proba_LC = trainer.algorithm.predict(pixels, "ema").softmax(-1)
    table = trainer.algorithm.labeled_tables()["margins"]
    own_L, (most_L, guess_L) = proba_LC.gather(1, label_L[:, None])[:, 0], proba_LC.max(-1)
    sureness = {"aum": table["sum"] / table["n"], "self-confidence": own_L, "max-prob": most_L}
    found: dict[str, Any] = {"steps": steps, "seed": seed, "wrong": int(wrong_L.sum())}
    found["memorized"] = float((guess_L == label_L).numpy()[wrong_L].mean())
    for name, value in sureness.items():
        suspicion_L = -value.double().numpy()
        found[f"{name}: AP"] = round(average_precision(suspicion_L, wrong_L), 4)
        found[f"{name}: precision"] = round(precision_at_errors(suspicion_L, wrong_L), 4)
    return found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "label-errors", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    for steps in args.steps:
        for seed in args.seeds:
            if any((entry["steps"], entry["seed"]) == (steps, seed) for entry in cells):
                continue
            cells.append(cell(steps, seed, args.threads))
            cells.sort(key=lambda entry: (entry["steps"], entry["seed"]))
            if args.out:
                measure.store(args.out, result, measure.seeds_of(result["cells"]))
    return result


def show(result: dict[str, Any]) -> None:
    table = Table(title="Finding wrong given labels: average precision, precision at as many", title_justify="left")
    for column in ("steps", "seed", "memorized", *SCORES):
        table.add_column(column, justify="right")
    for entry in result["cells"]:
        scores = (f"{entry[f'{name}: AP']:.3f}, {entry[f'{name}: precision']:.3f}" for name in SCORES)
        table.add_row(str(entry["steps"]), str(entry["seed"]), f"{entry['memorized']:.0%}", *scores)
    Console().print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
