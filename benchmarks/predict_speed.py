"""Seconds of `semisonic predict` on this code and on that of another checkout, in turns.

    python benchmarks/predict_speed.py OTHER RUN [--rounds 3] [--folder FOLDER] [--out FILE]

5,000 PNG files of 32x32 and 500 JPEG files of 500x375 are predicted by processes of their own, with their own caches,
so that no command finds the scan of an earlier one. RUN is a checkpoint that both can read, of a small network. The
seconds are by the clock and of all processors; each round is a pair, of which either is first in turns. Exit code 1
where the median of the pairs' ratios, of processors' seconds, is above 1.05.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from measure import environment, store

SLOWER = 1.05
SEED = 0
"""Of random pictures."""
HERE = Path(__file__).parents[1]
KINDS = {"5,000 PNG files of 32x32": (5000, 32, 32, "png"), "500 JPEG files of 500x375": (500, 375, 500, "jpg")}


def write_images(folder: Path, count: int, height: int, width: int, ending: str) -> None:
    generator = np.random.default_rng(SEED)
    folder.mkdir()
    for number in range(count):
        pixels = generator.integers(
            0, 256, (-(-height // 15), -(-width // 15), 3) if ending == "jpg" else (height, width, 3)
        )
        image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.{ending}")


def predicted(checkout: Path, run: Path, images: Path, work: Path) -> dict[str, float]:
    """Seconds of one command, by the clock and of all processors."""
    paths = os.pathsep.join(str(checkout / name) for name in ("engine", "kernels"))
    with tempfile.TemporaryDirectory(dir=work) as own:
        around = os.environ | {"PYTHONPATH": paths, "XDG_CACHE_HOME": f"{own}/cache", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, checkout / "launch" / "predict.py", run, images, "--out", f"{own}/predictions.csv"]
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run([*map(str, command)], env=around, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"clock": round(time.monotonic() - begin, 2), "processors": round(cpu, 2)}


def measure(other: Path, run: Path, rounds: int, work: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"environment": environment(torch.device("cpu")), "other": commit_of(other)}
    for kind, shape in KINDS.items():
        images = work / shape[-1]
        write_images(images, *shape)
        pairs = []
        for number in range(rounds):
            order = ("other", "this") if number % 2 else ("this", "other")
            pairs.append({name: predicted(HERE if name == "this" else other, run, images, work) for name in order})
        ratios = {
            clock: round(statistics.median(pair["this"][clock] / pair["other"][clock] for pair in pairs), 3)
            for clock in ("clock", "processors")
        }
        result[kind] = {"ratio": ratios, "pairs": pairs}
    return result


def commit_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of other code")
    parser.add_argument("run", type=Path, help="a run or checkpoint, of a small network")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where images are made and removed again (default: temporary)")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = measure(args.other.absolute(), args.run.absolute(), args.rounds, Path(folder))
    print(json.dumps(found, indent=1))
    if args.out:
        store(args.out, found, [SEED])
    return int(any(found[kind]["ratio"]["processors"] > SLOWER for kind in KINDS))


if __name__ == "__main__":
    sys.exit(main())
