"""How well the suspicion of auto-labels finds the wrong ones among them, beside the network's largest probability.

    python benchmarks/auto_label_ranking.py [--steps 300] [--seeds 31 32 33] [--out FILE]

FixMatch on the digits, 4 labels a class, 32 + 96 images a step on the network `small`, with 10 snapshots. Its averaged
network labels its pool, as `semisonic daily PROJECT label` does. Of each score: average precision, and the share of the
wrong labels among the 10 % that are most suspicious by it.

    suspicion  the mean rank of what 6 weak views and the snapshots say of the label
    views      their mean probability of the label
    run        that of the snapshots
    max-prob   the finished network's own probability of the label

A cell that FILE has is not made again.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.checkpoint import snapshots
from semisonic.config.command_line import resolve
from semisonic.curation.ranking import average_precision, recall_at
from semisonic.daily.labeling.scores import suspicion
from semisonic.daily.passes.images import Known
from semisonic.daily.passes.makers import VIEWS, Labeler
from semisonic.data.sets.base import Images
from semisonic.inference.batches import Batches, Found
from semisonic.inference.classifier import load_classifier
from semisonic.inference.sources import ArraySources, FileSources, Names
from semisonic.training.build import build_trainer
from semisonic.training.trainer import Trainer

FIELDS = (
    "--data", "digits", "--data.labels", "40", "--batch.labeled", "32", "--batch.unlabeled-ratio", "3",
    "--checkpoint.snapshots", "10", "--no-baseline", "--log.trackers", "none", "--device", "cpu",
)  # fmt: skip
SCORES = ("suspicion", "views", "run", "max-prob")
BATCH = 64


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33], help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args(argv)


def cell(steps: int, seed: int, threads: int = 1, learning: int | None = None) -> dict[str, Any]:
    """The figures of one run. learning: steps that it takes, if not all, for tests."""
    with tempfile.TemporaryDirectory() as folder:
        fields = ["--steps", str(steps), "--seed", str(seed), "--threads", str(threads), "--out", folder]
        trainer = build_trainer(resolve([*FIELDS, *fields])[1])
        with trainer.loader() as loader:
            for step in range(1, 1 + (learning or steps)):
                trainer.training_step(next(loader))
                if step in trainer.snapshot_steps:
                    trainer.save_snapshot()
        trainer.save()
        trainer.checkpoint_writer.finish()
        columns, wrong_N = labeled(trainer, Path(folder))
    sureness = {"suspicion": -suspicion(columns), "views": columns["views"], "run": columns["run"]}
    sureness["max-prob"] = columns["p"][:, 0]
    found: dict[str, Any] = {"steps": steps, "seed": seed, "images": len(wrong_N), "wrong": int(wrong_N.sum())}
    for name in SCORES:
        worst_N = -sureness[name].astype(np.float64)
        found[f"{name}: AP"] = round(average_precision(worst_N, wrong_N), 4)
        found[f"{name}: found"] = round(recall_at(worst_N, wrong_N, 0.1), 4)
    return found


def labeled(trainer: Trainer, folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns of the labels of a run's pool, and which labels are wrong."""
    images, pool = trainer.data.train, trainer.split.unlabeled
    pool = pool[~np.isin(pool, trainer.split.labeled)]
    assert isinstance(images, Images)
    np.save(folder / "pool.npy", images.pixels[pool])
    network = load_classifier(folder)
    others = [load_classifier(path) for path in snapshots.saved(folder)]
    labeler = Labeler(network, Known(FileSources(Path(), Names([])), pool), others)
    rows = Found(range(len(pool)), np.arange(len(pool)), [])
    made = []
    with closing(Batches(network, ArraySources(folder / "pool.npy"), BATCH, VIEWS).of(rows)) as batches:
        for views, count in batches:
            made.append({name: value[:count].numpy() for name, value in labeler.of(views).items()})
    columns = {name: np.concatenate([batch[name] for batch in made]) for name in ("top", "p", "views", "run")}
    return columns, columns["top"][:, 0] != images.labels[pool]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """All cells, those of the file first; written after each."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    result |= {"kind": "auto-label-ranking", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    for seed in args.seeds:
        if any((entry["steps"], entry["seed"]) == (args.steps, seed) for entry in cells):
            continue
        cells.append(cell(args.steps, seed, args.threads))
        cells.sort(key=lambda entry: (entry["steps"], entry["seed"]))
        if args.out:
            measure.store(args.out, result, measure.seeds_of(result["cells"]))
    return result


def means(result: dict[str, Any]) -> dict[str, float]:
    """Over the seeds: AP and found of each score."""
    names = [f"{name}: {figure}" for name in SCORES for figure in ("AP", "found")]
    return {name: float(np.mean([entry[name] for entry in result["cells"]])) for name in names}


def show(result: dict[str, Any]) -> None:
    title = "Finding wrong auto-labels: average precision, share found among the 10 % most suspicious"
    table = Table(title=title, title_justify="left")
    for column in ("steps", "seed", "wrong", *SCORES):
        table.add_column(column, justify="right")
    for entry in result["cells"]:
        scores = (f"{entry[f'{name}: AP']:.3f}, {entry[f'{name}: found']:.3f}" for name in SCORES)
        share = entry["wrong"] / entry["images"]
        table.add_row(str(entry["steps"]), str(entry["seed"]), f"{entry['wrong']} ({share:.1%})", *scores)
    mean = means(result)
    table.add_row("", "mean", "", *(f"{mean[f'{name}: AP']:.3f}, {mean[f'{name}: found']:.3f}" for name in SCORES))
    Console().print(table, highlight=False)


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: show(run(parse()))))
