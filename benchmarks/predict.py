"""Predictions at scale: memory for few and many images, and rows of ranks that are killed beside those of one process.

    python benchmarks/predict.py RUN [--few 10000] [--many 100000] [--kills 3] [--names 1000000]
                                 [--folder FOLDER] [--out FILE]

Tiny PNG files of their own are predicted by `semisonic predict` in processes of their own. Memory is the peak of the
process itself, resident, without those that check files. The ranks are two on the CPU; each kill is of all of them, by
SIGKILL, once another part is written. A million names are those of empty files, which a process lists and does no more.
Exit code 1 where a row differs, memory grows by more than 50 MB, or the most that a listing takes, added to what many
images took, is 1 GB.
"""

import argparse
import hashlib
import json
import os
import re
import signal
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

LIMIT = 1000.0
"""Megabytes of a process."""
GROWTH = 50.0
"""Megabytes, at most, between few images and many."""
ROWS = 4096
SEED = 0
"""Of random pictures."""
CODE = "import resource, sys; from semisonic.cli import predict; code = predict(sys.argv[1:]); "
CODE += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
LISTING = """
import sys
from pathlib import Path
from semisonic.inference import job, sources
def memory():
    lines = Path("/proc/self/status").read_text().splitlines()
    return [int(line.split()[1]) / 1024 for name in ("VmRSS:", "VmHWM:") for line in lines if line.startswith(name)]
before, _ = memory()
found = sources.files_below(Path(sys.argv[1]))
print(len(found), before, *memory())
"""
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SCRIPT = Path(__file__).parents[1] / "launch" / "predict.py"


def write_images(folder: Path, count: int) -> None:
    generator = np.random.default_rng(SEED)
    for number in range(count):
        place = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        pixels = generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{number:07}.png")


def digest(folder: Path) -> tuple[str, int]:
    """Of all rows in their order, and how many there are."""
    found, count = hashlib.blake2b(digest_size=16), 0
    for path in sorted(folder.glob("part-*[0-9].csv")):
        lines = path.read_bytes().splitlines(keepends=True)[1:]
        found.update(b"".join(lines))
        count += len(lines)
    return found.hexdigest(), count


def alone(run: Path, images: Path, out: Path) -> dict[str, Any]:
    """One process: its seconds, and its peak memory in megabytes."""
    begin = time.monotonic()
    command = [sys.executable, "-c", CODE, run, images, "--out", out, "--format", "csv", "--part", ROWS]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    peak = re.search(r"^peak (\d+)$", done.stdout, re.MULTILINE)
    assert peak is not None
    return {"seconds": round(time.monotonic() - begin, 1), "peak_mb": round(int(peak[1]) / 1024, 1)}


def listed(folder: Path, count: int) -> dict[str, Any]:
    """What the names of so many files take, in megabytes: at most, and in the end."""
    for number in range(count):
        place = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07}.png").touch()
    command = [sys.executable, "-c", LISTING, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    before, after, peak = map(float, done[1:])
    return {"names": int(done[0]), "peak_mb": round(peak - before, 1), "kept_mb": round(after - before, 1)}


def killed(run: Path, images: Path, out: Path, kills: int) -> int:
    """Two ranks, killed so often and continued; returns how many parts the kills left."""
    command = [sys.executable, *RANKS, SCRIPT, run, images, "--out", out, "--format", "csv", "--part", ROWS, "--resume"]
    for _ in range(kills):
        before = len(list(out.glob("part-*")))
        child = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL, start_new_session=True)
        while len(list(out.glob("part-*"))) == before and child.poll() is None:
            time.sleep(0.05)
        for process in ranks_of(out, child.pid):
            os.kill(process, signal.SIGKILL)
        child.wait()
    left = len(list(out.glob("part-*")))
    subprocess.run([*map(str, command)], check=True, stderr=subprocess.DEVNULL)
    return left


def ranks_of(out: Path, launcher: int) -> list[int]:
    """The launcher and its ranks, whose command lines name the output."""
    found = [launcher]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(out) in command.split(b"\0") and int(entry.name) not in (launcher, os.getpid()):
            found.append(int(entry.name))
    return found


def measure(run: Path, few: int, many: int, kills: int, names: int, folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = {"environment": environment(torch.device("cpu")), "rows a part": ROWS}
    for name, count in (("few", few), ("many", many)):
        write_images(folder / name, count)
        result[name] = {"images": count, **alone(run, folder / name, folder / f"{name}-alone")}
    result["growth_mb"] = round(result["many"]["peak_mb"] - result["few"]["peak_mb"], 1)
    result["listing"] = listed(folder / "names", names)
    result["kills"], result["parts left by the kills"] = kills, killed(run, folder / "many", folder / "ranks", kills)
    (one, rows), (two, others) = digest(folder / "many-alone"), digest(folder / "ranks")
    return result | {"rows": rows, "rows of the ranks": others, "equal": one == two}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="of a small network")
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where images are made and removed again (default: temporary)")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = measure(args.run.absolute(), args.few, args.many, args.kills, args.names, Path(folder))
    print(json.dumps(found, indent=1))
    if args.out:
        store(args.out, found, [SEED])
    small = found["growth_mb"] < GROWTH and found["many"]["peak_mb"] + found["listing"]["peak_mb"] < LIMIT
    return 0 if found["equal"] and small else 1


if __name__ == "__main__":
    sys.exit(main())
