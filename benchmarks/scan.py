"""What finding, checking and knowing a folder's images costs at a start, beside another checkout of this repository.

    python benchmarks/scan.py --beside CHECKOUT [--files 50000] [--side 48] [--cold 3] [--warm 7] [--workers N]
                              [--folder FOLDER] [--out FILE]

A folder of small JPEG files of its own is loaded as `--data folder` does, by both checkouts in turn, each in a process
of its own: cold, without a manifest, and warm, with all files known. What a run takes of its data besides is included:
its fingerprint and table or, where the checkout has none, its checksum. Each checkout has its own copy of the folder,
of links to the same files, since one cannot read the other's manifest. Clock and CPU time (of all processes) are taken
of the load alone and of the whole process, imports included. Ratios are those of the other checkout's time to this
one's, round by round: above 1, this one is faster.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import checkouts
from measure import describe, environment, ratio, spread
from semisonic.schema import UserError

CLASSES = 10
SEED = 0
"""Of random pictures."""
BOUNDS = {"cold": 1.3, "warm": 1.05}
"""What this checkout may take at most, as a multiple of the other's time."""
HERE, BESIDE = "this", "beside"
LOAD = """
import json, resource, sys, time
from pathlib import Path
from semisonic.data.sets.base import DataConfig
from semisonic.data.sets.registry import load_data_set

try:
    from semisonic.runs.known_data import keep_table
except ImportError:  # a checkout of before
    from semisonic.runs.run_folder import data_checksum

def cpu():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

workers = int(sys.argv[2]) or None
begin, used = time.perf_counter(), cpu()
data = load_data_set(DataConfig(name="folder", root=Path(sys.argv[1]), size=32, labels=None, workers=workers))
if hasattr(data, "fingerprint"):
    keep_table(Path(sys.argv[3]), data)
else:
    data_checksum(data)
own = {"seconds": time.perf_counter() - begin, "cpu": cpu() - used, "images": len(data.train) + len(data.test)}
print(json.dumps(own))
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=Path, required=True, help="another checkout of this repository")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--side", type=int, default=48, help="of the images, in pixels")
    parser.add_argument("--cold", type=int, default=3, help="rounds without a manifest")
    parser.add_argument("--warm", type=int, default=7, help="rounds with all files known")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode; 0 = one per CPU")
    parser.add_argument("--folder", type=Path, help="where the images are made and removed again (default: temporary)")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    return parser.parse_args(argv)


def write_images(folder: Path, files: int, side: int) -> None:
    """JPEG files of smooth random pictures, all different: most labeled, a tenth for the test."""
    random = np.random.default_rng(SEED)
    for number in range(files):
        part = "test" if number % 10 == 9 else "train"
        path = folder / part / f"class-{number // 10 % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=85)


def measured(checkout: Path, images: Path, workers: int) -> dict[str, float]:
    """Seconds and CPU seconds of a load by a checkout, and of its whole process."""
    with tempfile.TemporaryDirectory() as table:
        whole = checkouts.timed(checkout, LOAD, [str(images), str(workers), table], Path(table))
    own = json.loads(whole["printed"].splitlines()[-1])
    return {**own, "process seconds": whole["seconds"], "process cpu": whole["cpu"]}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Both checkouts in turn."""
    places = {HERE: Path(__file__).resolve().parents[1], BESIDE: args.beside.resolve()}
    if not checkouts.is_checkout(places[BESIDE]):
        raise UserError(f"--beside {args.beside}: no checkout of this repository")
    readings: dict[str, dict[str, list[dict[str, float]]]] = {state: {name: [] for name in places} for state in BOUNDS}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        roots = {name: Path(folder) / name for name in places}
        write_images(roots[HERE], args.files, args.side)
        shutil.copytree(roots[HERE], roots[BESIDE], copy_function=os.link)
        for state, rounds in (("cold", args.cold), ("warm", args.warm)):
            for number in range(rounds):
                order = list(places) if number % 2 else list(reversed(places))
                for name in order:
                    if state == "cold":
                        shutil.rmtree(roots[name] / ".semisonic", ignore_errors=True)
                    readings[state][name].append(measured(places[name], roots[name], args.workers))
    return result(args, readings)


def result(args: argparse.Namespace, readings: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, Any]:
    seconds, ratios = {}, {}
    for state, own in readings.items():
        for what in ("seconds", "cpu", "process seconds", "process cpu"):
            columns = {name: [reading[what] for reading in rounds] for name, rounds in own.items()}
            seconds[f"{state}, {what}"] = {name: spread(values) for name, values in columns.items()}
            ratios[f"{state}, {what}"] = ratio(columns[BESIDE], columns[HERE])
    return {
        "kind": "scan",
        "configuration": {"files": args.files, "side": args.side, "workers": args.workers},
        **environment(torch.device("cpu")),
        "seconds": seconds,
        "ratios": ratios,
    }


def show(found: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{found['configuration']['files']:,} files: {HERE} checkout / the one {BESIDE}")
    for column in ("", HERE, BESIDE, "cost", "from", "to", "bound"):
        table.add_column(column, justify="right" if column else "left")
    for name, own in found["ratios"].items():
        times = found["seconds"][name]
        cost = [1 / own[key] for key in ("median", "max", "min")]
        bound = BOUNDS[name.partition(",")[0]]
        medians = [f"{times[side]['median']:.2f} s" for side in (HERE, BESIDE)]
        table.add_row(name, *medians, *(f"{value:.3f}" for value in cost), f"{bound}")
    console.print(table)
    console.print(describe(found), highlight=False)


if __name__ == "__main__":
    sys.exit(checkouts.main(sys.argv[1:], parse, run, show, SEED))
