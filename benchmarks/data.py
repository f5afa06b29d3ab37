"""How fast the data path is on this machine: DALI by view, operation, batch size and steps per call, and the host.

    python benchmarks/data.py [--device cpu|cuda] [--size 32] [--batch 448] [--steps-per-call 0] [--seconds 1]
                              [--rounds 5] [--parts views operations ...] [--out FILE]

Images are synthetic and resident. Everything is built first; then all measure one window each, over and over, in one
process that is quiet before every window. Speeds are in images of the data set: with two views, each counts once.
On the CPU the views are also compared with a DataLoader whose workers augment with PIL and torchvision, round by round:
its images come as normalized floats, as such loops take them; the engine's as bytes, which its step normalizes.
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from conventional_data import PilViews, make_loader
from measure import describe, environment, ratio, settle, spread, store, timed
from semisonic.contract import Views
from semisonic.data.loading.calls import Placement, steps_per_call
from semisonic.data.loading.draws import Draws
from semisonic.data.loading.image_source import geometry_of, source_of
from semisonic.data.loading.loader import Loader, Sampling
from semisonic.data.loading.resident import ResidentImages
from semisonic.data.loading.sampler import TrainingSampler
from semisonic.data.loading.stream import Stream
from semisonic.data.sets.base import DataSet, Images
from semisonic.data.sets.splits import Split
from semisonic.data.views.operations import OPERATIONS
from semisonic.data.views.registry import single_operation
from semisonic.data.views.view import View
from semisonic.schema import UserError
from semisonic.training.process import keep_freed_memory
from synthetic import synthetic

PARTS = ("views", "operations", "batches", "calls", "host", "loader")
CLASSES, LABELS = 10, 40
SEED = 0
"""Of the order of images and of their views."""
PAIR = {"weak": "weak", "strong": "fixmatch"}
"""The views of FixMatch's unlabeled stream."""
MAGNITUDES = {"posterize": 5, "solarize": 128, "rotate": 20} | dict.fromkeys(("brightness", "color", "contrast"), 0.5)
"""Of the single operations; 0.2 for the others."""
TARGET = 4
"""What the ratio to the DataLoader should be at least, on the CPU."""


@dataclass(frozen=True)
class Case:
    """One thing that is measured."""

    part: str
    name: str
    images: int
    """Images of the data set, or for "host" steps, that a call of `action` deals with."""
    action: Callable[[], object]
    warm_up: int
    """Untimed calls of a window, which empty the queues that filled up meanwhile."""


@dataclass
class Bench:
    """What the cases are made from."""

    data: DataSet
    device: torch.device
    threads: int
    batch: int
    steps: int
    """Steps a DALI call."""

    def __post_init__(self) -> None:
        assert isinstance(self.data.train, Images)
        self.geometry = geometry_of(self.data, self.device)
        self.resident = ResidentImages(self.data.train, self.geometry.pad, self.device)

    def case(
        self,
        part: str,
        name: str,
        views: Mapping[str, str | View],
        operations: str,
        batch: int | None = None,
        steps: int | None = None,
    ) -> Case:
        """A stream of these views."""
        batch, steps = batch or self.batch, steps or self.steps
        draws = Draws(0, "unlabeled")
        sampler = TrainingSampler(draws, len(self.data.train), batch)
        source = source_of(self.data, self.device, resident=self.resident)
        placement = Placement(self.device, self.threads, operations, steps_per_call=steps)
        stream = Stream(draws, source, views, sampler, placement)

        def call() -> None:
            for _ in range(steps):
                next(stream)

        return Case(part, name, batch * steps, call, warm_up=4)

    def views(self) -> Iterator[Case]:
        yield self.case("views", "weak", {"weak": "weak"}, "dali")
        for operations in ("dali", "kernel"):
            yield self.case("views", f"strong, {operations}", {"strong": "fixmatch"}, operations)
            yield self.case("views", f"weak + strong, {operations}", PAIR, operations)

    def operations(self) -> Iterator[Case]:
        for name in OPERATIONS:
            for operations in ("dali", "kernel"):
                magnitude = MAGNITUDES.get(name, 0.2)
                view = single_operation(name, magnitude, self.geometry, operations=operations)
                yield self.case("operations", f"{name}, {operations}", {"view": view}, operations)

    def batches(self) -> Iterator[Case]:
        for batch in sorted({64, 128, 256, self.batch, 2 * self.batch}):
            yield self.case("batches", str(batch), PAIR, "auto", batch, 1)

    def calls(self) -> Iterator[Case]:
        for steps in (1, 2, 4, 8):
            yield self.case("calls", str(steps), PAIR, "auto", steps=steps)

    def host(self) -> Iterator[Case]:
        """All of the loader's work in Python and numpy for FixMatch's batches, with DALI answering at once.

        On a GPU it launches the kernel too; on the CPU the kernel itself would be host time, so DALI does its work.
        """
        operations = "auto" if self.device.type == "cuda" else "dali"
        count = len(self.data.train)
        split = Split(np.arange(LABELS), np.arange(count), np.array([], dtype=np.int64))
        for steps in (1, 8):
            loader = Loader(
                self.data, split, Views({"weak": "weak"}, PAIR), Sampling(0, max(1, self.batch // 7), self.batch),
                Placement(self.device, self.threads, operations, steps_per_call=steps),
            )  # fmt: skip
            for stream in loader.streams.values():
                stream.pipeline = Answering(stream)

            def call(loader: Loader = loader, steps: int = steps) -> None:
                for _ in range(steps):
                    next(loader)

            yield Case("host", f"steps a call: {steps}", steps, call, warm_up=4)


class Answering:
    """In place of a stream's DALI pipeline: asks for its inputs, and returns the same outputs each time."""

    def __init__(self, stream: Stream):
        self.stream, self.number = stream, 0
        self.outputs = stream.pipeline.run()

    def run(self, _: object) -> Any:
        # The real pipeline has been fed two calls by now, of which one was taken over.
        self.stream.feed_images(self.number)
        self.stream.feed_params(self.number)
        self.number += 1
        return self.outputs


def conventional(bench: Bench, batch: int, workers: int) -> Case:
    """A DataLoader with the same two views. It forks, so it starts before DALI has threads."""
    data, train = bench.data, bench.data.train
    assert isinstance(train, Images)
    views = PilViews(
        train.pixels, train.labels, np.arange(len(train)), "unlabeled", data.flip, data.pad, data.mean, data.std
    )
    batches = iter(make_loader(views, batch, workers, seed=SEED))
    next(batches)
    return Case("loader", f"DataLoader, {workers} workers", batch, lambda: next(batches), warm_up=2 * workers + 2)


def build(args: argparse.Namespace, device: torch.device) -> list[Case]:
    threads = args.threads or len(os.sched_getaffinity(0))
    steps = steps_per_call(args.steps_per_call, args.batch, args.size, device)
    count = max(2 * args.batch, min(50_000, 2**28 // (3 * args.size**2)))
    bench = Bench(synthetic(count, args.size, CLASSES), device, threads, args.batch, steps)
    print(f"{count:,} images {args.size}x{args.size}, {bench.resident.describe()}; building", file=sys.stderr)
    cases = []
    if "loader" in args.parts:
        cases.append(conventional(bench, args.loader_batch or max(1, args.batch // 7), args.workers))
    if device.type == "cpu":
        keep_freed_memory()  # as the engine does; the workers of the DataLoader are as torch starts them
    for part in PARTS:
        if part in args.parts and part != "loader":
            cases += getattr(bench, part)()
    return cases


def measure(cases: list[Case], device: torch.device, seconds: float, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Images per second of every case in every round; for "host", steps."""
    speeds: dict[tuple[str, str], list[float]] = {(case.part, case.name): [] for case in cases}
    begin = time.perf_counter()
    for number in range(rounds):
        for case in cases:
            settle()
            window = seconds / 2 if case.part == "operations" else seconds
            elapsed, calls = timed(case.action, device, window, case.warm_up)
            speeds[case.part, case.name].append(case.images * calls / elapsed)
        print(f"round {number + 1} of {rounds}, {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return speeds


def summarize(speeds: Mapping[tuple[str, str], list[float]]) -> dict[str, Any]:
    """part -> case -> median and spread, in images per second; for "host", milliseconds per step."""
    result: dict[str, Any] = {}
    for (part, name), values in speeds.items():
        values = [1000 / value for value in values] if part == "host" else values
        result.setdefault(part, {})[name] = spread(values)
    return result


def ratios(speeds: Mapping[tuple[str, str], list[float]]) -> dict[str, Any]:
    """Round by round: the two ways to make weak and strong views against a DataLoader and each other."""
    pair = {where: speeds.get(("views", f"weak + strong, {where}")) for where in ("kernel", "dali")}
    loader = next((values for (part, _), values in speeds.items() if part == "loader"), None)
    result = {}
    if pair["kernel"] and pair["dali"]:
        result["kernel / DALI operators"] = ratio(pair["kernel"], pair["dali"])
    for where, label in (("kernel", "kernel"), ("dali", "DALI operators")):
        if loader and pair[where]:
            result[f"{label} / DataLoader"] = ratio(pair[where], loader)
    return result


def show(
    result: Mapping[str, Any], compared: Mapping[str, Any], found: dict[str, Any], settings: Mapping[str, Any]
) -> None:
    console = Console(width=110, highlight=False)
    console.print(describe(found))
    console.print(
        f"{settings['size']}x{settings['size']}, batch {settings['batch']}, steps a DALI call: "
        f"{settings['steps_per_call']}, {settings['threads']} threads, {settings['workers']} workers; "
        f"median of {settings['rounds']} rounds (smallest to largest)"
    )
    titles = {
        "views": "DALI by view, images/s",
        "operations": "crop, flip and one operation, images/s",
        "batches": "weak + strong by batch size, one step a call, images/s",
        "calls": "weak + strong by steps a call, images/s",
        "host": "Python and numpy beside DALI, ms a step",
        "loader": "PIL and torchvision, weak + strong, images/s",
    }
    for part in (part for part in titles if part in result):
        table = Table()
        table.add_column(titles[part])
        table.add_column("median", justify="right")
        table.add_column("smallest to largest", justify="right")
        digits = 2 if part == "host" else 0
        for name, row in result[part].items():
            table.add_row(name, f"{row['median']:,.{digits}f}", f"{row['min']:,.{digits}f} to {row['max']:,.{digits}f}")
        console.print(table)
    for name, row in compared.items():
        console.print(f"weak + strong, {name}: {row['median']:.1f} times ({row['min']:.1f} to {row['max']:.1f})")
    if any("DataLoader" in name for name in compared):
        console.print(f"the aim is at least {TARGET} times the DataLoader's images")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=default)
    parser.add_argument("--size", type=int, default=32, help="side of the images, in pixels")
    parser.add_argument("--batch", type=int, default=448, help="images of a step")
    parser.add_argument("--steps-per-call", type=int, default=0, help="steps a DALI call; 0 = as in training")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of DALI; 0 = one per core")
    parser.add_argument("--workers", type=int, default=2, help="processes of the DataLoader")
    parser.add_argument("--loader-batch", type=int, default=0, help="batch of the DataLoader; 0 = a seventh of --batch")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="default: all, on a GPU without the DataLoader")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    args = parser.parse_args(argv)
    if args.parts is None:
        args.parts = [part for part in PARTS if part != "loader" or args.device == "cpu"]
    if min(args.size, args.batch, args.rounds, args.workers) < 1 or min(args.steps_per_call, args.threads) < 0:
        parser.error("--size, --batch, --rounds and --workers must be at least 1, the others not negative")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU here; use --device cpu")
    return args


def main(argv: list[str]) -> int:
    args = parse(argv)
    device = torch.device(args.device, 0) if args.device == "cuda" else torch.device("cpu")
    # Single operations leave some of the views' parameters unused.
    warnings.filterwarnings("ignore", message="The external source node")
    try:
        cases = build(args, device)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    speeds = measure(cases, device, args.seconds, args.rounds)
    result, compared = summarize(speeds), ratios(speeds)
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    settings["steps_per_call"] = steps_per_call(args.steps_per_call, args.batch, args.size, device)
    settings["threads"] = args.threads or len(os.sched_getaffinity(0))
    found = environment(device)
    show(result, compared, found, settings)
    if args.out:
        content = {"kind": "data", "configuration": settings, **found, "ratios": compared, "images_per_second": result}
        store(args.out, content, [SEED])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
