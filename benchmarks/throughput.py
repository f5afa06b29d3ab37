"""How fast is a training step, against the bare network and against a conventional loop, on the same work?

    python benchmarks/throughput.py [OPTIONS] [FIELDS]
    python benchmarks/throughput.py --algorithm all|NAME,NAME,... [OPTIONS] [FIELDS]
    python benchmarks/throughput.py --weak-pass [OPTIONS] [FIELDS]

Measured in turn, over and over, each in a process of its own that is idle while the others measure:
  bare          the forward and backward passes that a step needs, alone, on resident random images: the ceiling. They
                are counted in an eager step of the algorithm
  step          the engine's whole step on one resident batch
  end to end    the engine's step with its data
  conventional  DataLoader workers with torchvision and PIL, an eager network with torch's layers, an EMA tensor by
                tensor, metrics read with .item() after each step; in fp32, and at the engine's precision where that
                differs. Its loader and its step are also measured alone: how much of its own limit it reaches
                shows that it is no straw man.
Of several algorithms, one after the other, bare and step; each with its own batch, if none is given.
With --weak-pass, bare, step and end to end with weak views in the joint forward, beside the same with a forward of
their own (algorithm.weak_pass), and the memory of both steps.
Images are labeled + unlabeled images of a step, each counted once whatever the number of its views.
FIELDS are those of launch/train.py. Without --data NAME the images are synthetic: their content changes no speed.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import breakdown
import measure
import methods
import weak_pass
from variants import Bare, Conventional, Engine, Plan, configuration, describe_work, images_per_step
from without_dali import dali_is_installed

SCHEDULE = 2**20
"""Steps of the schedule that hours are projected for."""
CONVENTIONAL_VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE"}
"""In the loop's favor: where its workers share the cores with its step, threads that spin cost it a tenth or more."""
SYNTHETIC = {"cuda": 50_000, "cpu": 10_000}
"""Synthetic training images at 32 px; fewer where they are larger."""


@dataclass(frozen=True)
class Measurement:
    """One line of what is measured: its key in the results, the process that measures it, and its label."""

    key: str
    worker: str
    what: str
    label: str


def parser() -> argparse.ArgumentParser:
    gpu = torch.cuda.is_available()
    result = argparse.ArgumentParser(
        "throughput.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # FIELDS must not be taken for options
    )
    switch = argparse.BooleanOptionalAction
    result.add_argument("--algorithm", default="fixmatch", help="NAME, NAME,NAME,... or all (default: %(default)s)")
    result.add_argument("--model", default="wrn-28-2", help="default: %(default)s")
    result.add_argument("--image-size", type=int, default=32, help="of synthetic images (default: %(default)s)")
    result.add_argument("--classes", type=int, default=10, help="of synthetic images (default: %(default)s)")
    result.add_argument("--batch", type=int, help=f"labeled images (here: {64 if gpu else 8}; of several: their own)")
    result.add_argument("--ratio", type=int, help="unlabeled images for each labeled (7; of several: their own)")
    result.add_argument("--precision", default="bf16" if gpu else "fp32", help="fp32, bf16, fp16 (here: %(default)s)")
    result.add_argument("--compile", action=switch, default=True, help="of bare and engine (default: yes)")
    result.add_argument("--deterministic", action="store_true", help="only deterministic GPU kernels, in all variants")
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--workers", type=int, default=measure.cores(), help="of each loader of the conventional loop")
    result.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    result.add_argument("--seconds", type=float, default=3.0, help="of each window, from 3 steps (default: 3)")
    result.add_argument("--conventional", action=switch, default=True, help="measure the conventional loop as well")
    result.add_argument("--weak-pass", action="store_true", help="measure algorithm.weak_pass: joint against separate")
    result.add_argument(
        "--no-data", action="store_true", help="load nothing: leaves out what reads data; runs without DALI"
    )
    result.add_argument(
        "--profile", type=Path, metavar="FILE", help="write a chrome trace of the engine; show operators"
    )
    result.add_argument("--plot", type=Path, metavar="FILE", help="write a picture of where the time goes")
    result.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    return result


def make_plan(args: argparse.Namespace, rest: Sequence[str]) -> tuple[Plan, Any]:
    """The plan and the configuration; raises UserError for what is impossible."""
    own_data = any(token.split("=")[0] in ("--data", "--data.name") for token in rest)
    own_recipe = own_data or any(token.split("=")[0] in ("--recipe", "--config") for token in rest)
    fields = [] if own_recipe else ["--recipe", "cifar10"]
    fields += [] if own_data else ["--data", "digits"]  # the labels of a split; its images are the synthetic ones
    fields += [
        "--algorithm", args.algorithm, "--model", args.model, "--precision", args.precision,
        "--compile", "whole" if args.compile else "off", "--seed", str(args.seed), "--log.trackers", "none",
        "--no-baseline",
    ]  # fmt: skip
    fields += ["--deterministic"] if args.deterministic else []
    fields += [] if args.batch is None else ["--batch.labeled", str(args.batch)]
    fields += [] if args.ratio is None else ["--batch.unlabeled-ratio", str(args.ratio)]
    images = 0 if own_data else SYNTHETIC["cuda" if torch.cuda.is_available() else "cpu"]
    plan = Plan((*fields, *rest), args.image_size, args.classes, images, args.workers, not args.no_data)
    plan = replace(plan, profile=args.profile or plan.profile)
    cfg = configuration(plan)
    if own_data:
        from semisonic.data.sets.registry import load_data_set

        data = load_data_set(cfg.data)
        return replace(plan, image_size=data.size, classes=len(data.classes)), cfg
    # A gigabyte at most, and a few batches at least.
    most = 2**30 // (3 * args.image_size**2)
    return replace(plan, images=max(4 * images_per_step(cfg), min(images, most))), cfg


def precisions(args: argparse.Namespace, cfg: Any) -> list[str]:
    """At which precisions the conventional loop is measured; none where it is not written for the algorithm."""
    from conventional import ALGORITHMS

    wanted = list(dict.fromkeys(["fp32", cfg.arithmetic.name])) if args.conventional else []
    joint = getattr(cfg.algorithm, "weak_pass", "joint") == "joint"
    return wanted if cfg.algorithm.name in ALGORITHMS and joint else []


def measurements(plan: Plan, cfg: Any, conventional: Sequence[str]) -> list[Measurement]:
    found = [
        Measurement("bare", "bare", "bare", "bare forward + backward (a)"),
        Measurement("step", "engine", "step", "engine, step (b)"),
    ]
    if plan.with_data:
        found.append(Measurement("end_to_end", "engine", "end_to_end", "engine, end to end (c)"))
    for precision in conventional:
        key = f"conventional_{precision}"
        if plan.with_data:
            found.append(Measurement(key, key, "end_to_end", f"conventional, {precision} (d)"))
        label = f"  its step alone, {precision}" if plan.with_data else f"conventional, step alone, {precision}"
        found.append(Measurement(f"{key}_step", key, "step", label))
    if plan.with_data and conventional:
        found.append(Measurement("conventional_data", f"conventional_{conventional[0]}", "data", "  its data alone"))
    return found


def start_workers(plan: Plan, conventional: Sequence[str], workers: dict[str, measure.Worker], say: Console) -> None:
    """Builds one variant after the other into `workers`."""
    builds: list[tuple[str, Any, Plan]] = [("bare", Bare, plan), ("engine", Engine, plan)]
    builds += [(f"conventional_{p}", Conventional, replace(plan, precision=p)) for p in conventional]
    for name, build, own in builds:
        say.print(f"building {name}", highlight=False)
        workers[name] = measure.Worker(name, build, own, CONVENTIONAL_VARIABLES if build is Conventional else None)


def run_rounds(
    todo: Sequence[Measurement], workers: dict[str, measure.Worker], rounds: int, seconds: float, say: Console
) -> dict[str, list[measure.Reading]]:
    """Every measurement once a round; every other round backwards, so that a drift hits all alike."""
    readings: dict[str, list[measure.Reading]] = {item.key: [] for item in todo}
    for number in range(rounds):
        say.print(f"round {number + 1} of {rounds}", highlight=False)
        for item in todo if number % 2 == 0 else reversed(todo):
            readings[item.key].append(workers[item.worker].measure(item.what, seconds))
    return readings


def summarize(readings: dict[str, list[measure.Reading]], images: int, on_gpu: bool) -> dict[str, Any]:
    """Measurements, ratios and limits from the readings of all rounds."""
    steps = {key: [r["steps"] / r["seconds"] for r in of_key] for key, of_key in readings.items()}
    found: dict[str, Any] = {"measurements": {}, "ratios": {}, "limits": {}, "notes": []}
    for key, speeds in steps.items():
        row = {
            "images_per_second": measure.spread([images * speed for speed in speeds]),
            "steps_per_second": measure.spread(speeds),
            "hours": SCHEDULE / measure.spread(speeds)["median"] / 3600,
            "peak_bytes": max(r["peak_bytes"] for r in readings[key]),
        }
        if "data_wait" in readings[key][0]:
            row["data_wait"] = measure.spread([r["data_wait"] for r in readings[key]])
        found["measurements"][key] = row
        if not all(r["idle"] for r in readings[key]):
            found["notes"].append(f"{key} was not idle after each of its windows: it disturbed what followed")
    pairs = [("step", "bare"), ("end_to_end", "bare"), ("end_to_end", "step")]
    for precision in ("fp32", "bf16", "fp16"):
        name = f"conventional_{precision}"
        pairs += [("step", f"{name}_step"), ("end_to_end", name)]
        if name in steps:
            found["limits"][name] = share_of_limit(
                steps[name], steps[f"{name}_step"], steps["conventional_data"], on_gpu
            )
    for above, below in pairs:
        if above in steps and below in steps:
            found["ratios"][f"{above} / {below}"] = measure.ratio(steps[above], steps[below])
    return found


def share_of_limit(loop: Sequence[float], step: Sequence[float], data: Sequence[float], on_gpu: bool) -> dict[str, Any]:
    """What share of its own limit a loop reaches, from steps a second of loop, step alone and data alone, by round.

    On a GPU loader and step run at the same time: the slower one is the limit. On the CPU both want the same cores, so
    their times add up.
    """
    if on_gpu:
        limits = [min(s, d) for s, d in zip(step, data, strict=True)]
    else:
        limits = [1 / (1 / s + 1 / d) for s, d in zip(step, data, strict=True)]
    formula = "min(step, data)" if on_gpu else "1 / (1 / step + 1 / data)"
    return {"formula": formula, "steps_per_second": measure.spread(limits), "share": measure.ratio(loop, limits)}


def breakdown_of(result: dict[str, Any], workers: dict[str, measure.Worker], seconds: float) -> dict[str, Any]:
    """Milliseconds of the parts of a step: engine and conventional loops."""
    steps = {key: row["steps_per_second"]["median"] for key, row in result["measurements"].items()}
    rows = {"engine": breakdown.engine_parts({key: 1000 / speed for key, speed in steps.items()})}
    for name in result["limits"]:
        parts = workers[name].measure("parts", seconds)
        rows[name.replace("_", " ")] = breakdown.conventional_parts(parts)
    return rows


def show(result: dict[str, Any], todo: Sequence[Measurement], console: Console) -> None:
    table = Table()
    columns = (
        "", "images/s", "min to max", "steps/s", "of (a)", "of (d) fp32", "data wait", "peak memory", "2^20 steps"
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    rows = result["measurements"]
    for item in todo:
        row = rows[item.key]
        speed, images = row["steps_per_second"]["median"], row["images_per_second"]
        relative = []
        for other in ("bare", "conventional_fp32"):
            if other not in rows:
                relative.append("")
                continue
            ratio = measure.ratio(row["steps_per_second"]["rounds"], rows[other]["steps_per_second"]["rounds"])
            relative.append(f"{ratio['median']:.2f}")
        wait = f"{row['data_wait']['median']:.1%}" if "data_wait" in row else ""
        table.add_row(
            item.label, _number(images["median"]), f"{_number(images['min'])} to {_number(images['max'])}",
            f"{speed:.3g}", *relative, wait, f"{row['peak_bytes'] / 2**20:,.0f} MiB", f"{row['hours']:,.1f} h",
        )  # fmt: skip
    console.print(table)
    for name, ratio in result["ratios"].items():
        console.print(f"{name}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})", highlight=False)
    for name, limit in result["limits"].items():
        share = limit["share"]
        console.print(
            f"{name} reaches {share['median']:.0%} ({share['min']:.0%} to {share['max']:.0%}) of its own limit, "
            f"{limit['formula']}",
            highlight=False,
        )
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False)


def show_operators(found: dict[str, dict[str, float]], console: Console) -> None:
    for name, operators in found.items():
        total = sum(operators.values())
        largest = sorted(operators.items(), key=lambda item: -item[1])[:6]
        parts = ", ".join(f"{operator} {milliseconds / total:.0%}" for operator, milliseconds in largest)
        console.print(f"{name}, {total:,.0f} ms a step in operators: {parts}", highlight=False, soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def with_defaults(args: argparse.Namespace, several: bool) -> argparse.Namespace:
    """Batch and ratio where the command line has none: of several algorithms on a GPU their own."""
    on_gpu = torch.cuda.is_available()
    batch = args.batch or (64 if on_gpu else 8)
    if several:
        return argparse.Namespace(**{**vars(args), "batch": args.batch if on_gpu else batch})
    return argparse.Namespace(**{**vars(args), "batch": batch, "ratio": args.ratio or 7})


def execute(args: argparse.Namespace, rest: Sequence[str], workers: dict[str, measure.Worker]) -> None:
    several = args.algorithm == "all" or "," in args.algorithm
    if several and args.weak_pass:
        raise measure.Mistake(["--weak-pass: is for one algorithm; name one"])
    args = with_defaults(args, several)
    if args.weak_pass:
        weak_pass.execute(args, rest, workers, make_plan)
        return
    if several:
        methods.execute(args, rest, workers, make_plan)
        return
    say, console = Console(stderr=True), Console(width=max(140, Console().width))
    plan, cfg = make_plan(args, rest)
    conventional = precisions(args, cfg)
    todo = measurements(plan, cfg, conventional)
    start_workers(plan, conventional, workers, say)
    found = workers["bare"].info["environment"]
    readings = run_rounds(todo, workers, args.rounds, args.seconds, say)
    result = {
        "kind": "throughput",
        "configuration": describe_work(plan, cfg),
        **found,
        "images_per_step": images_per_step(cfg),
        "data": workers["engine"].info["data"] if plan.with_data else "random batches, no data",
        "rounds": args.rounds,
        "seconds": args.seconds,
        **summarize(readings, images_per_step(cfg), found["device"] == "cuda"),
        "config": cfg.model_dump(mode="json", exclude={"out"}),
    }
    if args.conventional and not conventional:
        result["notes"].append(f"the conventional loop is not written for {cfg.algorithm.name}: no (d)")
    result["breakdown_ms"] = breakdown_of(result, workers, args.seconds)
    work = result["configuration"]
    title = (
        f"{work['algorithm']}, {work['model']}, {work['image_size']} px, {work['labeled']} + "
        f"{images_per_step(cfg) - cfg.batch.labeled} images a step, {work['precision']}, "
        f"{'compiled' if work['compiled'] else 'eager'}, replay {work['replayed']}"
        + (", deterministic" if work["deterministic"] else "")
    )
    console.print(f"{title}; {result['data']}\n{measure.describe(found)}", highlight=False)
    show(result, todo, console)
    if args.plot:
        shared = "; the loader's workers share its cores, which shows in all parts of (d)" if conventional else ""
        machine = found["hardware"] + (shared if found["device"] == "cpu" else "")
        breakdown.plot(result["breakdown_ms"], f"{title}\n{machine}", args.plot)
        measure.store_beside(args.plot, found, [cfg.seed])
    if args.profile:
        profiled = ["engine", *(name for name in workers if name.startswith("conventional"))]
        result["operators_ms"] = {name: workers[name].measure("profile", 0.0)["operators"] for name in profiled}
        show_operators(result["operators_ms"], console)
    if args.out:
        measure.store(args.out, result, [cfg.seed])


def main(argv: Sequence[str]) -> int:
    args, rest = parser().parse_known_args(argv)
    if not args.no_data and not dali_is_installed():
        print("error: DALI is not installed; install it, or measure without data (--no-data)", file=sys.stderr)
        return 2
    workers: dict[str, measure.Worker] = {}
    try:
        return measure.exit_code(lambda: execute(args, rest, workers))
    finally:
        measure.close_all(list(workers.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
