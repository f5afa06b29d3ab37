"""A labeling project of two classes, one of them rare: the task of AnomalyMatch (arXiv 2505.03509).

    python benchmarks/daily_anomalies.py [--seeds 0 1 2] [--cycles 3] [--out runs/anomalies] [--result FILE]

3,000 images of Fashion-MNIST of half its size: 1 % are of one class, the anomalies, and all others are normal. A person
has labeled 5 anomalies and 45 normal images. Then come cycles of 40 looks at the images that are anomalies most
probably, as on the page with its filter by class, and a training. Told are AUROC, average precision and the precision
among the 1 % with the largest probability, over all images that nobody had labeled before the first training; and how
many anomalies a person has seen. A seed that OUT has is not made again.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

import daily_stream
import semisonic
from daily_arms import STEPS, fields
from daily_project import Simulated, flat
from daily_reviewer import Reviewer, unlabeled
from daily_stream import Day, Source, write_day
from measure import environment, seeds_of, store, write_json
from semisonic.daily.store import Store

IMAGES, RARE = 3000, 0.01
GIVEN = {"anomaly": 5, "normal": 45}
LOOKS = 40
CLASSES = ("anomaly", "normal")
PAPER = {
    "auroc": 0.96,
    "average_precision": 0.82,
    "precision_at_1_percent": 0.76,
    "data": "miniImageNet, 1 % anomalies",
}
"""What the paper tells, of other images and a larger network."""


class Search(Simulated):
    """A project in which rare images are looked for."""

    def __init__(self, fashion: Source, folder: Path, seed: int, steps: int):
        generator = np.random.default_rng(seed)
        rare = int(generator.integers(len(fashion.classes)))
        truth = np.where(fashion.truth == rare, 0, 1)
        pools = [generator.permutation(np.flatnonzero(truth == number)) for number in (0, 1)]
        counts = (round(RARE * IMAGES), IMAGES - round(RARE * IMAGES))
        made = Source(
            fashion.name, fashion.size, CLASSES, fashion.pixels, truth, fashion.test_pixels, fashion.test_truth
        )
        super().__init__(made, folder)
        self.kind, self.seed, self.steps = fashion.classes[rare], seed, steps
        self.given = {name: pools[number][: GIVEN[name]] for number, name in enumerate(CLASSES)}
        first = [GIVEN[name] for name in CLASSES]
        parts = zip(pools, first, counts, strict=True)
        self.open = generator.permutation(np.concatenate([pool[own : own + count] for pool, own, count in parts]))
        """int64 [N]: rows of the images that nobody has labeled at the start."""
        self.reviewer = Reviewer("reviewer", self.truth)

    def run(self, cycles: int) -> dict[str, Any]:
        for name, rows in self.given.items():
            write_day(self.source, Day(1, rows), self.folder / "labeled" / name)
        write_day(self.source, Day(1, self.open), self.folder / "images")
        self.command(
            "init", "--classes", ",".join(CLASSES), "--data.size", str(self.source.size), "--seed", str(self.seed),
            *(f"--{name}={value}" for name, value in flat(fields(self.steps)).items()),
        )  # fmt: skip
        self.command("add", str(self.folder / "labeled"), "--labels", "folders", "--who", "reviewer")
        self.command("add", str(self.folder / "images"))
        found = []
        for cycle in range(cycles + 1):
            self.command("train")
            probability = self.probabilities(cycle)
            found.append(self.measured(probability) | {"looks": self.reviewer.looks, "seen": self.seen()})
            if cycle < cycles:
                with self.store() as store:
                    self.reviewer.look(store, self.most_probable(store, probability), "page:free", True)
        return {"seed": self.seed, "anomaly": self.kind, "cycles": found}

    def probabilities(self, cycle: int) -> np.ndarray:
        """Of being an anomaly, float32 [N], of the open images in their order."""
        name = "day-001" + (f"-{cycle + 1}" if cycle else "")
        classifier = semisonic.load(self.project().runs / name)
        column = classifier.classes.index("anomaly")
        return classifier.predict_proba(self.source.pixels[self.open][..., None], batch=256)[:, column]

    def most_probable(self, store: Store, probability_N: np.ndarray) -> list[int]:
        self.learn_rows(store)
        image = {row: number for number, row in self.rows.items()}
        left = set(unlabeled(store, store.current().image).tolist())
        ordered = [image[row] for row in self.open[np.argsort(-probability_N, kind="stable")].tolist()]
        return [number for number in ordered if number in left][:LOOKS]

    def measured(self, probability_N: np.ndarray) -> dict[str, float]:
        rare_N = self.source.truth[self.open] == 0
        top = np.argsort(-probability_N, kind="stable")[: round(0.01 * len(rare_N))]
        return {
            "auroc": float(roc_auc_score(rare_N, probability_N)),
            "average_precision": float(average_precision_score(rare_N, probability_N)),
            "precision_at_1_percent": float(rare_N[top].mean()),
        }

    def seen(self) -> int:
        """Open anomalies that a person has labeled."""
        with self.store() as store:
            self.learn_rows(store)
            left = set(unlabeled(store, store.current().image).tolist())
        opened = set(self.open.tolist())
        rare = [self.source.truth[row] == 0 and row in opened for image, row in self.rows.items() if image not in left]
        return int(sum(rare))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=daily_stream.FASHION, help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--cycles", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/anomalies"), help="default: %(default)s")
    parser.add_argument("--result", type=Path, metavar="FILE", help="JSON with all figures")
    return parser.parse_args()


def show(outcomes: list[dict[str, Any]], console: Console) -> None:
    table = Table(title="Rare images of two classes", title_justify="left", box=None, pad_edge=False)
    for name in (
        "seed",
        "anomaly",
        "looks",
        "AUROC",
        "average precision",
        "precision of the top 1 %",
        "anomalies seen",
    ):
        table.add_column(name, justify="left" if name == "anomaly" else "right")
    for entry in outcomes:
        for cycle in entry["cycles"]:
            table.add_row(
                str(entry["seed"]), entry["anomaly"], str(cycle["looks"]), f"{cycle['auroc']:.3f}",
                f"{cycle['average_precision']:.2f}", f"{cycle['precision_at_1_percent']:.2f}", str(cycle["seen"]),
            )  # fmt: skip
    console.print(table, highlight=False)


def main() -> int:
    args = parse()
    fashion, outcomes, begin = daily_stream.fashion_mnist(args.root), [], time.monotonic()
    for seed in args.seeds:
        folder = args.out / f"seed{seed}"
        file = folder / "outcome.json"
        if not file.is_file():
            if folder.exists():
                sys.exit(f"error: {folder} was begun and not finished; remove it to run it again")
            folder.mkdir(parents=True)
            write_json(file, Search(fashion, folder, seed, args.steps).run(args.cycles))
        outcomes.append(json.loads(file.read_text()))
    show(outcomes, Console(width=None if sys.stdout.isatty() else 120))
    if args.result:
        about = {"images": IMAGES, "rare": RARE, "given": GIVEN, "looks": LOOKS, "steps": args.steps, "paper": PAPER}
        timing = {"seconds": round(time.monotonic() - begin, 1)}
        content = {"environment": environment(torch.device("cpu"))} | about | timing | {"outcomes": outcomes}
        store(args.result, content, seeds_of(outcomes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
