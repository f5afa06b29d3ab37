"""Makes the stored predictions that the audit's coverage is measured on: five runs, as auto-labels of their pools.

    python benchmarks/audit_predictions.py [--out tests/fixtures/audit-predictions.npz]

FixMatch of 200 steps: Fashion-MNIST with 10 and 40 labels a class among 3,000 images, digits with 4, 10 and 40. Of
each image without a label are stored its certainty, which is the mean of the network's probability of its own label
over 6 weak views and over 10 checkpoints of the run's second half (float16), and whether that label is right.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import labeled_runs
import measure
from semisonic.inference.classifier import Classifier, load_classifier
from semisonic.inference.keyed import WeakCrops

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/audit-predictions.npz"
RUNS = {
    "fashion-10": ("fashion", 10),
    "fashion-40": ("fashion", 40),
    "digits-4": ("digits", 4),
    "digits-10": ("digits", 10),
    "digits-40": ("digits", 40),
}
SNAPSHOTS, VIEWS = 10, 6


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="default: all")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    return parser.parse_args(argv)


def predictions(data: str, per_class: int, steps: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(certainty float16 [N], right bool [N]) of the auto-labels of one run."""
    pool = labeled_runs.digits() if data == "digits" else labeled_runs.fashion()
    labeled = labeled_runs.balanced(pool.truth, per_class, seed)
    saves = {"checkpoint": {"every": max(1, steps // (2 * SNAPSHOTS)), "keep": SNAPSHOTS}}
    labeled_runs.train(pool, labeled, steps, seed, folder, **saves)
    rest = np.setdiff1d(np.arange(len(pool.truth)), labeled)
    images = pool.images[rest]
    checkpoints = sorted((folder / "checkpoints").glob("step-*"))
    found = [load_classifier(path).predict_proba(images) for path in checkpoints[-SNAPSHOTS:]]
    label = found[-1].argmax(-1)
    own = np.arange(len(label)), label
    run = np.mean([probabilities[own] for probabilities in found], axis=0)
    views = mean_over_views(load_classifier(checkpoints[-1]), images)[own]
    return ((run + views) / 2).astype(np.float16), label == pool.truth[rest]


def mean_over_views(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The mean probability of each class over weak views, [N, C]."""
    pixels = torch.cat([part.to(torch.uint8) for part in classifier.transform.batches(images, 512)])
    weak, keys = (
        WeakCrops(classifier.image_size, classifier.weak["pad"], classifier.weak["flip"]),
        np.arange(len(images)),
    )
    views = [weak(pixels, keys, f"weak{number}") for number in range(VIEWS)]
    return np.mean([classifier.predict_proba(view.numpy().transpose(0, 2, 3, 1)) for view in views], axis=0)


def run(args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Makes the file's arrays, RUN/certainty and RUN/right, and writes it."""
    found: dict[str, np.ndarray] = {}
    for name in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            certainty, right = predictions(*RUNS[name], args.steps, args.seed, Path(folder) / "run")
        found |= {f"{name}/certainty": certainty, f"{name}/right": right}
        Console().print(
            f"{name}: {100 * right.mean():.1f} % right, {100 * certainty.mean():.1f} % sure", highlight=False
        )
    np.savez_compressed(args.out, **found)
    return found


if __name__ == "__main__":
    sys.exit(measure.exit_code(lambda: run(parse())))
