"""Which new classes show by distance: of the images that lie farthest from all earlier ones, how many are of a class
that comes for the first time.

    python benchmarks/daily_new_class.py [--seeds 10 11] [--images 600] [--steps 200] [--out FILE]

For each class of Fashion-MNIST of half its size: two days without it, 80 random labels, a network as in `daily.py`, and
the features that it has of a third day, on which the class is there. Counted are those of the class among the 20
farthest (`semisonic.curation.choice`), and the AUROC of the distance. A cell that FILE has is not made again.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_auc_score

import daily_stream
import semisonic
from daily_arms import ASKED, STEPS, fields
from measure import environment, seeds_of, store
from semisonic.curation import choice
from semisonic.daily.defaults import under

LABELS = 80


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=daily_stream.FASHION, help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11], help="default: 10 11")
    parser.add_argument("--images", type=int, default=600, help="a day (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a training (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to read and to add to")
    return parser.parse_args()


def cell(source: daily_stream.Source, new_class: int, seed: int, images: int, steps: int) -> dict[str, Any]:
    *before, today = daily_stream.days_of(source, 3, images, new_class, 3, seed)
    earlier = np.concatenate([day.rows for day in before])
    labeled = np.random.default_rng(seed).choice(earlier, LABELS, replace=False)
    known = sorted(set(source.truth[labeled].tolist()))
    label = np.where(np.isin(earlier, labeled), np.searchsorted(known, source.truth[earlier]), -1)
    made = under(fields(steps), source.size)
    crop = {"flip": True, "classes": [source.classes[number] for number in known], "test": "none"}
    made.pop("data")
    with tempfile.TemporaryDirectory() as folder:
        data = {"images": (source.pixels[earlier], label), **crop}
        result = semisonic.train(data=data, out=str(Path(folder) / "run"), seed=seed, quiet=True, **made)
        classifier = result.classifier
    with torch.no_grad():
        rows = [torch.from_numpy(np.repeat(source.pixels[part][:, None], 3, 1)) for part in (today.rows, earlier)]
        features, others = (classifier.features(images).numpy() for images in rows)
    distance = choice.distances(features, others)
    new = source.truth[today.rows] == new_class
    first = np.argsort(-distance, kind="stable")[:ASKED]
    return {
        "class": source.classes[new_class], "seed": seed, "images": int(new.sum()), "farthest": int(new[first].sum()),
        "auroc": float(roc_auc_score(new, distance)),
    }  # fmt: skip


def main() -> int:
    args = parse()
    source, cells = daily_stream.fashion_mnist(args.root), []
    if args.out and args.out.is_file():
        cells = json.loads(args.out.read_text())["cells"]
    done = {(one["class"], one["seed"]) for one in cells}
    for seed in args.seeds:
        for number, name in enumerate(source.classes):
            if (name, seed) not in done:
                cells.append(cell(source, number, seed, args.images, args.steps))
            if args.out:
                about = {"images": args.images, "steps": args.steps, "labels": LABELS}
                content = {"environment": environment(torch.device("cpu")), **about, "cells": cells}
                store(args.out, content, seeds_of(cells))
    table = Table(title=f"Of a new class among the {ASKED} farthest images", title_justify="left", box=None)
    for name in ("class", "seed", "images of it", "among the farthest", "AUROC"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for one in cells:
        told = (one["class"], one["seed"], one["images"], one["farthest"], f"{one['auroc']:.2f}")
        table.add_row(*map(str, told))
    Console(width=None if sys.stdout.isatty() else 100).print(table, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
