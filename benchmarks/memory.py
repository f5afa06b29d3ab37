"""Memory of large networks: what a step is predicted to take against what it takes.

    python benchmarks/memory.py [OPTIONS]

FixMatch's step for each network and image size, plain and with what saves memory, each in a process of its own. Rows:
  predicted     the peak of torch's allocator in a step, and its parts, without taking the step
  measured      the most bytes that torch's allocator has given out while a trainer is built and takes two steps, as
                torch's profiler counts its memory events; of several ranks the largest
  resident      the most memory that the process has had (VmHWM), libraries included
A case is measured where its prediction stays below the limit, and predicted only elsewhere; ZeRO-2 with two processes
over gloo. Weights are random and images black: neither changes what is allocated.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

import measure

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = {
    "ViT-B/14 at 224": ("timm/vit_base_patch14_reg4_dinov2", 224),
    "ViT-B/14 at 518": ("timm/vit_base_patch14_reg4_dinov2", 518),
    "EfficientNet-B4 at 380": ("timm/efficientnet_b4", 380),
}


@dataclass(frozen=True)
class Way:
    """How a step is taken. The data set's name says another size than its images here have, so that what depends on
    the size is set past the check of a command line."""

    fields: tuple[str, ...] = ()
    recompute: bool = False
    tune: str = "full"
    ranks: int = 1


WAYS = {
    "plain": Way(),
    "recompute": Way(recompute=True),
    "micro-batches": Way(("--batch.micro", "2")),
    "LoRA": Way(tune="lora"),
    "ZeRO-2, 2 ranks": Way(("--parallel.deepspeed", str(ROOT / "launch/deepspeed/zero2.json")), ranks=2),
}
CLASSES = 10
STEPS = 2
SEED = 0
"""Of random weights."""


def configuration(name: str, way: str, labeled: int) -> Any:
    from without_dali import do_without_dali

    do_without_dali()
    from semisonic.config.command_line import resolve

    fields = ["--data", "digits", "--algorithm", "fixmatch", "--device", "cpu", "--threads", "1", "--optim", "adamw",
              "--batch.labeled", str(labeled), "--batch.unlabeled-ratio", "1", "--eval.batch", "1",
              "--log.trackers", "none", "--no-baseline", "--seed", str(SEED)]  # fmt: skip
    cfg = resolve([*fields, *WAYS[way].fields])[1]
    model = cfg.model.model_copy(update={"name": NETWORKS[name][0], "tune": WAYS[way].tune})
    return cfg.model_copy(update={"model": model, "recompute": WAYS[way].recompute})


def black_images(size: int) -> tuple[Any, Any]:
    """A data set of black images, which take no memory, and its split."""
    from semisonic.data.sets.base import DataConfig, DataSet, Images
    from semisonic.data.sets.splits import make_split

    count = 100 * CLASSES
    labels = np.arange(count, dtype=np.int64) % CLASSES
    pixels = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (count, size, size, 3))
    names = tuple(f"class {number}" for number in range(CLASSES))
    data = DataSet("synthetic", names, size, (0.5,) * 3, (0.25,) * 3, True, size // 8, Images(pixels, labels), None)
    return data, make_split(DataConfig(), labels, CLASSES, 0)


def predicted(name: str, way: str, labeled: int) -> dict[str, Any]:
    from semisonic.runs.predicted_memory import predict
    from semisonic.training.build import build_algorithm

    cfg, (data, split) = configuration(name, way, labeled), black_images(NETWORKS[name][1])
    begin = time.perf_counter()
    found = predict(cfg, data, split, lambda own: build_algorithm(own, data, split, fresh=False), WAYS[way].ranks)
    return {
        "predicted_bytes": found.peak, "parts": dict(found.step), "prediction_seconds": time.perf_counter() - begin
    }  # fmt: skip


def take_steps(name: str, way: str, labeled: int) -> dict[str, int]:
    """In a process of its own: builds a trainer and takes its first steps."""
    from semisonic.data.loading.synthetic import synthetic_batch
    from semisonic.training.build import build_trainer

    cfg, (data, split) = configuration(name, way, labeled), black_images(NETWORKS[name][1])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trainer = build_trainer(cfg, data, split)
        ranks = trainer.rank.world_size
        sizes = cfg.batch.labeled // ranks, cfg.batch.unlabeled // ranks
        batch = synthetic_batch(data, split, cfg.views, cfg.loading, *sizes, torch.device("cpu"))
        for _ in range(STEPS):
            trainer.training_step(batch)
    lines = Path("/proc/self/status").read_text().splitlines()
    resident = 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return {"measured_bytes": measure.most_allocated(recorded), "resident_bytes": resident}


def measured(name: str, way: str, labeled: int) -> dict[str, int]:
    """The same, from the parent; of several ranks the largest numbers."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"] if WAYS[way].ranks > 1 else []
    command = [sys.executable, *launcher, __file__, "--one", name, way, str(labeled)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [json.loads(line[len(MARK) :]) for line in ended.stdout.splitlines() if line.startswith(MARK)]
    if ended.returncode or not found:
        raise measure.Failed(f"{name}, {way}", ended.stderr or "it printed nothing")
    return {key: max(one[key] for one in found) for key in found[0]}


MARK = "memory of this process: "


def case(name: str, way: str, labeled: int, args: argparse.Namespace, say: Console) -> dict[str, Any]:
    from semisonic.schema import UserError

    ranks = WAYS[way].ranks
    row: dict[str, Any] = {"network": name, "way": way, "labeled": labeled * ranks, "unlabeled": labeled * ranks}
    say.print(f"{name}, {way}, {labeled} + {labeled} images a rank", highlight=False)
    try:
        row |= predicted(name, way, labeled * ranks)
    except UserError as error:
        return row | {"predicted_bytes": None, "measured_bytes": None, "refused": str(error)}
    if labeled not in args.measure or ranks * row["predicted_bytes"] > args.limit_gb * 1e9:
        return row | {"measured_bytes": None}
    readings = [measured(name, way, labeled * ranks) for _ in range(args.rounds)]
    row |= {key: measure.spread([reading[key] for reading in readings]) for key in readings[0]}
    return row | {"predicted / measured": row["predicted_bytes"] / row["measured_bytes"]["median"]}


def show(result: dict[str, Any], console: Console) -> None:
    table = Table()
    for column in ("network", "way", "images", "predicted", "measured", "ratio", "resident"):
        table.add_column(column, justify="left" if column in ("network", "way") else "right", no_wrap=True)
    for row in result["cases"]:
        images, taken = f"{row['labeled']} + {row['unlabeled']}", row.get("measured_bytes")
        if "refused" in row:
            table.add_row(row["network"], row["way"], images, "-", "-", "-", "-")
            continue
        table.add_row(
            row["network"], row["way"], images, f"{row['predicted_bytes'] / 2**20:,.0f} MiB",
            f"{taken['median'] / 2**20:,.0f} MiB" if taken else "predicted only",
            f"{row['predicted / measured']:.3f}" if taken else "",
            f"{row['resident_bytes']['median'] / 2**20:,.0f} MiB" if taken else "",
        )  # fmt: skip
    console.print(table)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        "memory.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NETWORK")
    result.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    result.add_argument("--batches", nargs="+", type=int, default=[2, 8, 32], help="labeled images of a rank")
    result.add_argument("--measure", nargs="+", type=int, default=[2], help="those of the batches that are measured")
    result.add_argument("--limit-gb", type=float, default=18, help="of all ranks' predictions (default: %(default)s)")
    result.add_argument("--rounds", type=int, default=2, help="processes of each case (default: %(default)s)")
    result.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON, those of FILE kept")
    result.add_argument("--one", nargs=3, metavar=("NETWORK", "WAY", "LABELED"), help=argparse.SUPPRESS)
    return result


def run(args: argparse.Namespace) -> None:
    say, console = Console(stderr=True), Console(width=max(140, Console().width))
    cases: list[dict[str, Any]] = json.loads(args.out.read_text())["cases"] if args.out and args.out.exists() else []
    known = {(row["network"], row["way"], row["labeled"]) for row in cases}
    for name in args.networks:
        for labeled in args.batches:
            for way in args.ways:
                ranks = WAYS[way].ranks
                if (name, way, labeled * ranks) in known:
                    continue
                cases.append(case(name, way, labeled, args, say))
                result = {
                    "kind": "memory", **measure.environment(torch.device("cpu")), "steps": STEPS,
                    "optimizer": "adamw", "precision": "fp32", "limit_gb": args.limit_gb,
                    "allocator": "peak of torch's CPU allocator, from its profiler's memory events", "cases": cases,
                }  # fmt: skip
                if args.out:
                    measure.store(args.out, result, [SEED])
    show(result if cases and "result" in locals() else {"cases": cases}, console)


def main(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    if args.one:
        name, way, labeled = args.one
        print(MARK + json.dumps(take_steps(name, way, int(labeled))), flush=True)
        return 0
    return measure.exit_code(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
