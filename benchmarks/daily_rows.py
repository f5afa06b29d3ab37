"""What a store of labels costs at a million images: rows alone, without files, each part in a process of its own.

    python benchmarks/daily_rows.py [--images 1000000] [--classes 100] [--folder FOLDER] [--out FILE]

Parts: `add` new rows, `take over` a run's labels and scores, read all that is current, record and undo single labels,
rebuild what is derived, and the pages of 200 images that the labeling page asks for. Seconds are clock time; `cpu`,
`again`, `scores` and `whole check` are of the processor; memory is the peak of the part's process. `BOUNDS` has what is
wanted.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.daily.store import Change, NewImage, ScoreBatch, State, Store

BOUNDS = {"add cpu": 60.0, "add bytes": 1e9, "page seconds": 0.05}
"""At a million images; of the processor where a shared machine's clock would tell of others."""
WHO, RUN = "benchmark", "day-001"
SIZE, SINGLE = 200, 200
"""Images of a page, and labels that are recorded one by one."""
BATCH = 50_000


def images(count: int) -> Iterator[NewImage]:
    """Rows as `add` makes them of files; one of a hundred is labeled."""
    for number in range(count):
        label = f"class {number % 7}" if number % 100 == 0 else None
        content = np.random.default_rng(number).bytes(16) if number < 8 else number.to_bytes(8, "big") * 2
        digest = bytes(reversed(content))
        path = f"/data/camera/2026-11-{1 + number % 28:02d}/{number:08d}.jpg"
        yield NewImage(
            path, digest, 20_000 + number % 9999, 1_795_000_000_000_000_000 + number, number, 640, 480, label
        )


def scores(count: int, classes: int) -> Iterator[ScoreBatch]:
    """Of a network that is sure of most images."""
    rng = np.random.default_rng(0)
    for begin in range(0, count, BATCH):
        image = np.arange(begin, min(begin + BATCH, count)) + 1
        label = rng.integers(1, classes + 1, len(image))
        sure = np.sqrt(rng.random(len(image)))
        yield ScoreBatch(image, label, label % classes + 1, sure, sure, 1 - sure, rng.random(len(image)))


def timed(action: Callable[[], object], repeats: int = 1) -> dict[str, Any]:
    """Seconds of each call, by the clock and of the processor; their medians, and all by the clock."""
    found = []
    for _ in range(repeats):
        begin, used = time.perf_counter(), time.process_time()
        action()
        found.append((time.perf_counter() - begin, time.process_time() - used))
    seconds, cpu = (statistics.median(column) for column in zip(*found, strict=True))
    return {"seconds": seconds, "cpu": cpu, "rounds": [clock for clock, _ in found]}


def add(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    with Store.create(path, [f"class {number}" for number in range(args.classes)], WHO) as store:
        found = timed(lambda: store.add_images(images(args.images), WHO))
        again = timed(lambda: store.add_images(images(args.images), WHO))
    return {**found, "again": again["cpu"]}


def take_over(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    with Store.open(path) as store:
        return timed(lambda: store.take_over(RUN, scores(args.images, args.classes), WHO), 2)


def current(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    with Store.open(path) as store:
        return {**timed(store.current, 5), "scores": timed(store.scores, 3)["cpu"]}


def label(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Single labels, each its own transaction on the disk; and their undoing."""
    with Store.open(path) as store:
        chosen = np.random.default_rng(1).choice(args.images, SINGLE, replace=False) + 1
        free = [int(image) for image in chosen if (now := store.now_of(int(image))) and now.event is None]
        every = iter(free)
        found = timed(lambda: store.record([Change(next(every), State.REVIEWED, 1, None)], WHO, "page:free"), len(free))
        undone = timed(lambda: store.undo_last(WHO), len(free))
        begin = time.perf_counter()
        event = store.merge_classes("class 1", "class 2", WHO)
        merged = time.perf_counter() - begin
        store.undo([event], WHO)
    return {"seconds": found["seconds"], "cpu": found["cpu"], "undo": undone["seconds"], "merge of classes": merged}


def page(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The labeling page's own queries, the connection being warm."""
    from semisonic.daily.page.queues import Ask, find
    from semisonic.daily.store.classes import read_classes

    asked = {
        "free": Ask("free", SIZE), "class": Ask("free", SIZE, class_id=3), "pair": Ask("free", SIZE, pair=(3, 4)),
        "suspicion": Ask("free", SIZE, low=0.4, high=0.5), "suspicious": Ask("suspicious", SIZE),
    }  # fmt: skip
    with Store.open(path) as store:
        ranked = store.scores()
        store.put_queue("suspicious", ranked.image[np.argsort(-ranked.suspicion)[:10_000]].tolist(), 1)
        classes = read_classes(store.connection)
        found = {name: timed(lambda ask=ask: find(store.connection, classes, ask), 9) for name, ask in asked.items()}  # type: ignore[misc]
        rows = {name: len(find(store.connection, classes, ask).rows) for name, ask in asked.items()}
    most = {name: max(own[name] for own in found.values()) for name in ("seconds", "cpu")}
    return {**most, "queries": {name: own["seconds"] for name, own in found.items()}, "images": rows}


def check(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    with Store.open(path) as store:
        found = timed(store.rebuild)
        problems: list[str] = []
        whole = timed(lambda: problems.extend(store.check(files=False)))
    if problems:
        raise SystemExit("\n".join(problems))
    return {**found, "whole check": whole["cpu"]}


PARTS = {"add": add, "take over": take_over, "current": current, "label": label, "page": page, "check": check}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10**6)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="for the store, which is removed (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and bytes of every part."""
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        found = {name: _apart(name, folder, args) for name in PARTS}
        size = sum(path.stat().st_size for path in folder.glob("labels.db*"))
    finally:
        shutil.rmtree(folder)
    return {"images": args.images, "classes": args.classes, "store bytes": size, "parts": found}


def _apart(part: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A part in a process of its own, which tells its peak of memory."""
    command = [sys.executable, __file__, "--part", part, "--folder", folder, "--images", args.images, "--classes",
               args.classes]  # fmt: skip
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{part}: ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def missed(found: dict[str, Any]) -> list[str]:
    """What is beyond `BOUNDS`, a line each."""
    own = {f"{part} {what}": found["parts"][part][what] for part, what in map(str.split, BOUNDS)}
    return [f"{name}: {own[name]:.3g}, wanted {bound:.3g}" for name, bound in BOUNDS.items() if own[name] > bound]


def main() -> None:
    args = parse(sys.argv[1:])
    if args.part:
        found = PARTS[args.part](args.folder / "labels.db", args)
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
        print(json.dumps({**found, "bytes": peak}))
        return
    import torch

    from measure import describe, environment, store

    load = os.getloadavg()[0]
    found = {**environment(torch.device("cpu")), "load before": load, **run(args)}
    print(describe(found))
    for name, own in found["parts"].items():
        figures = {key: value for key, value in own.items() if key not in ("rounds", "bytes")}
        print(f"{name:10} {own['bytes'] / 1e6:6.0f} MB  {json.dumps(figures)}")
    print("\n".join(missed(found)) or "all within bounds")
    if args.out:
        store(args.out, found, [0, 1])  # of scores and of single labels


if __name__ == "__main__":
    main()
