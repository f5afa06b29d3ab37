"""Images per second on this machine: the DALI pipeline alone, the step alone, and both together.

    python benchmarks/throughput.py [--model wrn-28-2] [--out FILE] [FIELDS]

Takes the fields of launch/train.py. The step alone runs on one batch that stays on the device. The three are measured
in turn, several times over, in one process; medians and the spread (min to max) are printed, with hardware and
versions, and written as JSON with --out FILE.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from semisonic.cli import report
from semisonic.commandline import resolve
from semisonic.data.sources import load
from semisonic.data.splits import make_split
from semisonic.run import build_algorithm
from semisonic.runtime import environment, start
from semisonic.schema import UserError
from semisonic.trainer import Trainer

ROUNDS = 5
SECONDS = 3.0
"""Of each measurement in each round; at least two steps."""


def timed(action: Callable[[], object], wait: Callable[[], None]) -> tuple[float, int]:
    """Seconds and calls of `action`, repeated for SECONDS and waited for."""
    wait()
    begin, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - begin < SECONDS:
        action()
        calls += 1
    wait()
    return time.perf_counter() - begin, calls


def measure(trainer: Trainer) -> dict[str, object]:
    loader = trainer.loader()
    resident = next(loader)

    def wait() -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)

    for _ in range(3):  # compiling, autotuning, filling the prefetch queue
        trainer.train_step(next(loader))
    actions: dict[str, Callable[[], object]] = {
        "data": lambda: next(loader),
        "step": lambda: trainer.train_step(resident),
        "both": lambda: trainer.train_step(next(loader)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in actions}
    waits: list[float] = []
    for _ in range(ROUNDS):
        for name, action in actions.items():
            waited = loader.wait_seconds
            seconds, calls = timed(action, wait)
            speeds[name].append(trainer.images_per_step * calls / seconds)
            if name == "both":
                waits.append((loader.wait_seconds - waited) / seconds)
    return {
        **{
            name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for name, values in speeds.items()
        },
        "data_wait": {"median": statistics.median(waits), "min": min(waits), "max": max(waits)},
    }


def show(result: dict, trainer: Trainer) -> None:
    cfg, console = trainer.cfg, Console(width=110)
    env = environment(trainer.accelerator)
    console.print(
        f"{cfg.algorithm.name}, {cfg.model.name}, {trainer.data.size}x{trainer.data.size}, "
        f"{cfg.batch.labelled} + {cfg.batch.unlabelled} images a step, {cfg.precision}, "
        f"compile {'whole' if cfg.compiled else 'off'}\n{env['hardware']}, {env['cpu_threads']} CPU threads, "
        f"{env['versions']}",
        highlight=False,
    )
    table = Table()
    for column in ("", "images/s (median)", "min to max", "steps/s", "of the step alone"):
        table.add_column(column, justify="right" if column else "left")
    names = {"data": "DALI pipeline alone", "step": "step alone", "both": "both together"}
    for name, label in names.items():
        row = result[name]
        table.add_row(
            label,
            f"{row['median']:,.0f}",
            f"{row['min']:,.0f} to {row['max']:,.0f}",
            f"{row['median'] / trainer.images_per_step:.2f}",
            f"{row['median'] / result['step']['median']:.2f}",
        )
    console.print(table)
    wait = result["data_wait"]
    console.print(
        f"waiting for data: {wait['median']:.1%} of the time ({wait['min']:.1%} to {wait['max']:.1%})",
        highlight=False,
    )


def main(argv: list[str]) -> int:
    try:
        _, cfg = resolve([*argv, "--log.trackers", "none"])
        out = cfg.out
        accelerator = start(cfg)
        data = load(cfg.data)
        split = make_split(cfg.data, data.train.labels, len(data.classes), cfg.seed)
        trainer = Trainer(cfg, build_algorithm(cfg, data, split), data, split, accelerator)
        result = measure(trainer)
        show(result, trainer)
        if out:
            content = {
                "images_per_second": result,
                "config": cfg.model_dump(mode="json", exclude={"out"}),
                **environment(accelerator),
            }
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(content, indent=1))
        return 0
    except UserError as error:
        return report(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
