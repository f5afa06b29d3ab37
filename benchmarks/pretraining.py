"""Does pre-training help? SimCLR on Fashion-MNIST's 60,000 images, then 40 labels: with and without its weights.

    python benchmarks/pretraining.py [--pretrained RUN] [--seeds 0 1 2] [--steps 400] [--out FILE]

SimCLR with the network `small` sees the 60,000 images without their labels (5,700 steps: half an hour of two free
cores). Then, for each seed with its own 40 labels, test error on the 10,000 test images of

* nearest neighbors, logistic regression and self-training on its frozen features;
* training with the labels alone, from random weights and from the pre-trained ones (fine-tuning);
* FixMatch from random weights and from the pre-trained ones.

All trainings have the recipe of `fashion-mnist` but for their length and batch: 400 steps of 32 labeled images, and 224
unlabeled ones with FixMatch. Nothing is chosen on the seeds that are reported: the learning rate is the recipe's for
all of them. The head that SimCLR's run has trained on labels of its own is left out of its weights, so that nobody
starts with the labels of another seed. A cell that FILE has is not made again. Cost is the whole process: seconds by
clock and of CPU time; on a machine that has other work only the latter are comparable.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from semisonic.checkpoint import format as checkpoints

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "results" / "pretraining-fashion-cpu.json"
FROZEN = {"neighbors": "nearest neighbors", "logistic": "logistic regression", "self_training": "self-training"}
ARMS: dict[str, tuple[str, bool]] = {
    "labels alone, random weights": ("supervised", False),
    "labels alone, pre-trained weights": ("supervised", True),
    "fixmatch, random weights": ("fixmatch", False),
    "fixmatch, pre-trained weights": ("fixmatch", True),
}
"""Trainings: the method, and whether it starts from the pre-trained weights."""
CONSTANT = ("--device", "cpu", "--log.trackers", "none", "--no-baseline")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretrained", type=Path, metavar="RUN", help="a finished SimCLR run to start from")
    parser.add_argument("--pretraining-steps", type=int, default=5700, help="else, its length (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=400, help="of each training (default: %(default)s)")
    parser.add_argument("--only", choices=["random", "pretrained"], help="only what starts from such weights")
    parser.add_argument("--threads", type=int, default=1, help="of each run (default: %(default)s)")
    parser.add_argument(
        "--data", default="fashion-mnist", metavar="NAME", help="another data set, to try this (default: %(default)s)"
    )
    parser.add_argument(
        "--root", default="/usr/share/datasets/fashion-mnist", help="of the data (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="where the runs go (%(default)s)")
    parser.add_argument("--note", help="what a reader of FILE must know of this measurement")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help="JSON to read and to add to (%(default)s)"
    )
    return parser.parse_args(argv)


# Runs.


def semisonic(*arguments: object, cache: Path) -> dict[str, float]:
    """Runs the command line in a process of its own, with a cache of its own; returns what it cost."""
    paths = os.pathsep.join([str(ROOT / "engine"), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": str(cache.absolute())}
    command = [sys.executable, "-m", "semisonic", *map(str, arguments)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=variables, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - begin, 1), "cpu_seconds": round(cpu, 1)}


def data_fields(args: argparse.Namespace) -> list[str]:
    return ["--data", args.data, *(["--data.root", args.root] if args.root else []), "--data.labels", "40"]


def pretrain(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """(the pre-trained run, what is told of it); it is trained unless it is given or there already."""
    folder, cost = args.pretrained or args.work / "simclr", None
    if not (folder / "summary.json").exists():
        if args.pretrained:
            raise SystemExit(f"{folder}: is no finished run; end it with --resume first")
        cost = semisonic(
            "pretrain", *data_fields(args), "--model", "small", "--steps", args.pretraining_steps, "--optim.lr", "0.1",
            "--optim.schedule", "cosine", "--optim.warm-up", min(200, args.pretraining_steps // 10), *CONSTANT[:4],
            "--threads", args.threads, "--out", folder, cache=args.work / "cache",
        )  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    config = checkpoints.load_checkpoint(folder).config
    about = {
        "method": summary["algorithm"], "network": summary["network"], "steps": summary["step"],
        "seed": summary["seed"], "images": summary["step"] * 2 * _unlabeled(config),
        "training_seconds": round(summary["wall_seconds"], 1), "process": cost,
        "probe_error": round(100 - summary["test_top1"], 2),
    }  # fmt: skip
    return folder, about


def _unlabeled(config: str) -> int:
    """Images of a step of which two views are made, by a run's configuration."""
    import yaml

    batch = yaml.safe_load(config)["batch"]
    return round(batch["labeled"] * batch["unlabeled_ratio"])


def without_head(run: Path, folder: Path) -> Path:
    """A checkpoint with the weights of a run but for its head's."""
    checkpoint = checkpoints.load_checkpoint(run)
    model = {name: value for name, value in checkpoint.model.items() if ".head." not in name}
    folder.mkdir(parents=True, exist_ok=True)
    bare = checkpoints.Checkpoint(model, {}, checkpoint.state, checkpoint.config)
    return checkpoints.save(folder, checkpoint.state["step"], bare, keep=1)


def training(args: argparse.Namespace, arm: str, seed: int, weights: Path | None) -> list[dict[str, Any]]:
    """The cell of a training."""
    method, pretrained = ARMS[arm]
    out = args.work / f"{method}-{'pretrained' if pretrained else 'random'}-{seed}"
    begun = ["--resume"] if (out / "config.yaml").exists() else []
    cost = semisonic(
        "train", *data_fields(args), "--algorithm", method, "--model", "small", "--steps", args.steps,
        "--batch.labeled", 32, "--batch.unlabeled-ratio", 7, "--eval.every", args.steps, "--checkpoint.every",
        args.steps, "--seed", seed, "--frozen", "off", *(["--init", weights] if pretrained else []), *CONSTANT,
        "--threads", args.threads, "--out", out, *begun, cache=args.work / "cache",
    )  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    images = args.steps * (32 + (2 * 224 if method == "fixmatch" else 0))
    return [
        {
            "arm": arm, "seed": seed, "error": round(100 - summary["test_top1"], 2),
            "raw_error": round(100 - summary["test_top1_raw"], 2), "images": images, **cost,
        }
    ]  # fmt: skip


def frozen(args: argparse.Namespace, seed: int, weights: Path) -> list[dict[str, Any]]:
    """The cells of the baselines on frozen features, from a run of one step."""
    out = args.work / f"frozen-{seed}"
    begun = ["--resume"] if (out / "config.yaml").exists() else []
    semisonic(
        "train", *data_fields(args), "--algorithm", "fixmatch", "--model", "small", "--steps", 1, "--batch.labeled", 8,
        "--batch.unlabeled-ratio", 1, "--seed", seed, "--frozen", "on", "--init", weights, *CONSTANT, "--threads",
        args.threads, "--out", out, *begun, cache=args.work / f"cache-{seed}",
    )  # fmt: skip
    found = json.loads((out / "summary.json").read_text())["frozen"]
    cells = []
    for name, arm in FROZEN.items():
        own = found[name]
        if "error" in own:
            raise SystemExit(f"{out}: {name}: {own['error']}")
        cells.append({
            "arm": f"{arm}, frozen features", "seed": seed, "error": round(100 - own["test_top1"], 2),
            "images": found["images"],
            "seconds": round(own["seconds"] + found["features_seconds"], 1),
            "cpu_seconds": round(own["cpu_seconds"] + found["features_cpu_seconds"], 1),
            "details": {key: value for key, value in own.items() if key not in ("test_top1", "seconds", "cpu_seconds")},
        })  # fmt: skip
    return cells


# The table.

ORDER = (*(f"{arm}, frozen features" for arm in FROZEN.values()), *ARMS)


def table(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each arm: mean error over its seeds and its spread, in percent, and mean cost."""
    rows = []
    for arm in ORDER:
        own = sorted((cell for cell in cells if cell["arm"] == arm), key=lambda cell: cell["seed"])
        if not own:
            continue
        errors = [cell["error"] for cell in own]
        rows.append({
            "arm": arm, "seeds": [cell["seed"] for cell in own], "errors": errors,
            "mean_error": round(statistics.fmean(errors), 2),
            "deviation": round(statistics.stdev(errors), 2) if len(errors) > 1 else None,
            "images": own[0]["images"],
            **{name: round(statistics.fmean(cell[name] for cell in own), 1) for name in ("seconds", "cpu_seconds")},
        })  # fmt: skip
    return rows


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    view = Table(title="Test error with 40 labels, mean and standard deviation over seeds", title_justify="left")
    for column in ("", "error %", "of each seed", "images", "seconds", "CPU seconds"):
        view.add_column(column, justify="right" if column else "left")
    for row in rows:
        deviation = "" if row["deviation"] is None else f" ± {row['deviation']:.2f}"
        view.add_row(
            row["arm"], f"{row['mean_error']:.2f}{deviation}", " ".join(f"{error:.2f}" for error in row["errors"]),
            f"{row['images']:,}", f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}",
        )  # fmt: skip
    console.print(view)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Makes what FILE does not have yet, and writes it after every cell."""
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {"cells": []}
    asked = {"steps": args.steps, "labels": 40, "data": args.data, "batch": "32 labeled + 224 unlabeled"}
    if result.get("settings", asked) != asked:
        raise SystemExit(f"{args.out}: has cells of {result['settings']}; give another --out")
    args.work.mkdir(parents=True, exist_ok=True)
    weights = None
    if args.only != "random":
        trained, about = pretrain(args)
        known = result.get("pretraining", about)["process"]  # what it cost when it was made here
        result["pretraining"] = {**about, "process": about["process"] or known}
        weights = without_head(trained, args.work / "weights")
    result |= {"settings": asked, "environment": measure.environment(torch.device("cpu"))}
    result |= {"note": args.note} if args.note else {}
    there = {(cell["arm"], cell["seed"]) for cell in result["cells"]}
    for seed in args.seeds:
        made: list[dict[str, Any]] = []
        if weights is not None and (f"{FROZEN['neighbors']}, frozen features", seed) not in there:
            made += frozen(args, seed, weights)
            _write(args.out, result, made)
        for arm, (_, pretrained) in ARMS.items():
            if (arm, seed) not in there and (weights is not None if pretrained else args.only != "pretrained"):
                _write(args.out, result, training(args, arm, seed, weights))
    return result


def _write(path: Path, result: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    result["cells"] += cells
    result["table"] = table(result["cells"])
    measure.store(path, result, measure.seeds_of(result["cells"]))


def main() -> None:
    args = parse()
    result = run(args)
    show(result.get("table", []), Console())


if __name__ == "__main__":
    main()
