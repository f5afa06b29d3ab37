"""Large networks: what compiling by blocks and computing activations again cost and save.

    python benchmarks/backbones.py [OPTIONS] [FIELDS]

The engine's whole step on one resident random batch, for each of --compile off, whole and blocks, with and without
--recompute, each in a process of its own that is idle while the others measure. For each case:
  step          seconds, measured in turn, round by round
  memory        what a step allocates at its peak above what lies there between steps: activations, gradients and
                temporaries. On the GPU of torch's allocator, on the CPU as torch's profiler counts it, so that what
                compilers and libraries take is left out. The peak of the whole process, or of the GPU's allocator
                since the start, stands beside it.
  first step    seconds, with all that is compiled in it, from an empty cache
FIELDS are those of launch/train.py. Loads no data and runs without DALI.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

import measure
from variants import Plan, configuration, data_set, images_per_step, random_batch, rows_per_step

CASES = [(compiled, recompute) for compiled in ("off", "whole", "blocks") for recompute in (False, True)]
MEMORY = {
    "cuda": "peak of torch's allocator in a step, above what is allocated between steps",
    "cpu": "peak of tensors allocated in a step, above those between steps, counted by torch's profiler",
}


def case_name(compiled: str, recompute: bool) -> str:
    return compiled + (" + recompute" if recompute else "")


class Case:
    """The engine's step in one of the ways to compile it. Its constructor does the first steps and measures memory."""

    def __init__(self, plan: Plan):
        cfg = configuration(plan)
        from semisonic.training.build import build_trainer

        self.trainer = build_trainer(cfg, *data_set(plan, cfg))
        self.device = self.trainer.device
        self.batch = random_batch(cfg, plan, self.device)
        begin = time.perf_counter()
        self.step()
        self.wait()
        first = time.perf_counter() - begin
        for _ in range(12 if self.device.type == "cuda" else 1):  # more than are warmed up before a graph is recorded
            self.step()
        self.info: dict[str, Any] = {
            "first_step_seconds": first,
            "memory_bytes": step_memory(self.step, self.device),
            "parameters": sum(parameter.numel() for parameter in self.trainer.algorithm.network.parameters()),
            "environment": measure.environment(self.device),
        }

    def step(self) -> None:
        self.trainer.training_step(self.batch)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def measure(self, what: str, seconds: float) -> measure.Reading:
        elapsed, steps = measure.timed(self.step, self.device, seconds, least=2)
        return {"seconds": elapsed, "steps": steps}


def step_memory(step: Callable[[], None], device: torch.device) -> int:
    """Bytes allocated at the peak of one step, above those allocated before it. A replayed graph allocates nothing."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    return measure.most_allocated(recorded)


def parser() -> argparse.ArgumentParser:
    gpu = torch.cuda.is_available()
    result = argparse.ArgumentParser(
        "backbones.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--algorithm", default="fixmatch", help="default: %(default)s")
    result.add_argument("--model", default="resnet50", help="default: %(default)s")
    result.add_argument("--image-size", type=int, default=224 if gpu else 96, help="here: %(default)s")
    result.add_argument("--classes", type=int, default=1000 if gpu else 10, help="here: %(default)s")
    result.add_argument("--batch", type=int, default=32 if gpu else 2, help="labeled images (here: %(default)s)")
    result.add_argument(
        "--ratio", type=int, default=5 if gpu else 2, help="unlabeled for each labeled (here: %(default)s)"
    )
    result.add_argument("--micro", type=int, default=1, help="micro-batches of a step (default: %(default)s)")
    result.add_argument("--precision", default="bf16" if gpu else "fp32", help="fp32, bf16, fp16 (here: %(default)s)")
    result.add_argument("--replay", default="off", help="step, backward, off (default: %(default)s)")
    names = [case_name(*case).replace(" ", "") for case in CASES]
    result.add_argument("--cases", nargs="+", default=names, choices=names, metavar="CASE", help=", ".join(names))
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    result.add_argument("--seconds", type=float, default=3.0, help="of each window, from 2 steps (default: 3)")
    result.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    return result


def make_plan(args: argparse.Namespace, rest: Sequence[str], compiled: str, recompute: bool) -> Plan:
    fields = (
        "--data", "digits", "--algorithm", args.algorithm, "--model", args.model,
        "--batch.labeled", str(args.batch), "--batch.unlabeled-ratio", str(args.ratio),
        "--batch.micro", str(args.micro), "--precision", args.precision, "--replay", args.replay,
        "--seed", str(args.seed), "--log.trackers", "none", "--no-baseline", "--compile", compiled,
        "--recompute" if recompute else "--no-recompute",
    )  # fmt: skip
    # The labels of the split are those of the digits, but the images that a network is built for are synthetic.
    images = max(2000, 4 * args.batch * (1 + args.ratio)) if args.image_size <= 96 else 1000
    return Plan((*fields, *rest), args.image_size, args.classes, images, 0, with_data=False)


def run(args: argparse.Namespace, rest: Sequence[str], workers: dict[str, measure.Worker]) -> dict[str, Any]:
    say = Console(stderr=True)
    chosen = [case for case in CASES if case_name(*case).replace(" ", "") in args.cases]
    plans = {case_name(*case): make_plan(args, rest, *case) for case in chosen}
    configurations = {name: configuration(plan) for name, plan in plans.items()}  # refuses before anything is built
    for name, plan in plans.items():
        say.print(f"building {name}", highlight=False)
        with tempfile.TemporaryDirectory() as cache:
            empty = {"TORCHINDUCTOR_CACHE_DIR": cache}
            workers[name] = measure.Worker(name, Case, plan, empty)
    readings: dict[str, list[measure.Reading]] = {name: [] for name in workers}
    for number in range(args.rounds):
        say.print(f"round {number + 1} of {args.rounds}", highlight=False)
        for name in workers if number % 2 == 0 else reversed(workers):
            readings[name].append(workers[name].measure("step", args.seconds))
    cfg, plan = next(iter(configurations.values())), next(iter(plans.values()))
    first = next(iter(workers.values())).info
    return {
        "kind": "backbones",
        "configuration": {
            "algorithm": args.algorithm, "model": args.model, "parameters": first["parameters"],
            "image_size": args.image_size, "classes": args.classes, "labeled": args.batch,
            "unlabeled_ratio": args.ratio, "images_per_step": images_per_step(cfg), "rows": rows_per_step(cfg),
            "micro": args.micro, "precision": args.precision, "replay": args.replay, "seed": args.seed,
        },
        **first["environment"],
        "memory": MEMORY[first["environment"]["device"]],
        "rounds": args.rounds,
        "seconds": args.seconds,
        "cases": {name: summarize(name, workers, readings) for name in workers},
    }  # fmt: skip


def summarize(
    name: str, workers: dict[str, measure.Worker], readings: dict[str, list[measure.Reading]]
) -> dict[str, Any]:
    """One case: its step, memory and first step; and its time and memory relative to the first case."""
    base = next(iter(workers))
    seconds = {key: [r["seconds"] / r["steps"] for r in readings[key]] for key in (base, name)}
    info, base_info = workers[name].info, workers[base].info
    return {
        "step_seconds": measure.spread(seconds[name]),
        f"step / {base}": measure.ratio(seconds[name], seconds[base]),
        "memory_bytes": info["memory_bytes"],
        f"memory / {base}": info["memory_bytes"] / max(1, base_info["memory_bytes"]),
        "peak_bytes": max(r["peak_bytes"] for r in readings[name]),
        "first_step_seconds": info["first_step_seconds"],
        "idle": all(r["idle"] for r in readings[name]),
    }


def show(result: dict[str, Any], console: Console) -> None:
    work, cases = result["configuration"], result["cases"]
    base = next(iter(cases))
    console.print(
        f"{work['algorithm']}, {work['model']} ({work['parameters'] / 1e6:.1f} M parameters), {work['image_size']} px, "
        f"{work['rows']} views a step in {work['micro']} micro-batches, {work['precision']}, replay {work['replay']}\n"
        f"{measure.describe(result)}\nmemory: {result['memory']}",
        highlight=False,
    )  # fmt: skip
    table = Table()
    for column in ("", "step", f"of {base}", "memory", f"of {base}", "peak of all", "first step"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, row in cases.items():
        step, ratio = row["step_seconds"], row[f"step / {base}"]
        table.add_row(
            name, f"{1000 * step['median']:,.0f} ms",
            f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
            f"{row['memory_bytes'] / 2**20:,.0f} MiB", f"{row[f'memory / {base}']:.2f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB", f"{row['first_step_seconds']:,.1f} s",
        )  # fmt: skip
    console.print(table)


def main(argv: Sequence[str]) -> int:
    args, rest = parser().parse_known_args(argv)
    workers: dict[str, measure.Worker] = {}

    def action() -> None:
        result = run(args, rest, workers)
        show(result, Console(width=max(140, Console().width)))
        if args.out:
            measure.store(args.out, result, [result["configuration"]["seed"]])

    try:
        return measure.exit_code(action)
    finally:
        measure.close_all(list(workers.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
