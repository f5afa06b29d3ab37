"""What throughput.py does with --weak-pass: a step whose weak views are in the joint forward, against one that gives
them a forward of their own, without gradient."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

import measure
from methods import MakePlan
from variants import Bare, Engine, Plan, describe_work, images_per_step

WAYS = ("joint", "separate")
KINDS = {"bare": "bare forward + backward", "step": "engine, step", "end_to_end": "engine, end to end"}


def execute(args: argparse.Namespace, rest: Sequence[str], workers: dict[str, measure.Worker], plan: MakePlan) -> None:
    """Measures both ways of one algorithm in turn."""
    if args.plot or args.profile:
        raise measure.Mistake(["--plot, --profile: are for one way; leave --weak-pass out"])
    say, console = Console(stderr=True), Console(width=max(140, Console().width))
    plans = {way: plan(args, [*rest, "--algorithm.weak-pass", way]) for way in WAYS}
    own, cfg = plans["joint"]
    load = os.getloadavg()[0]
    start_workers({way: found for way, (found, _) in plans.items()}, workers, say)
    kinds = [kind for kind in KINDS if own.with_data or kind != "end_to_end"]
    readings = run_rounds(kinds, workers, args.rounds, args.seconds, say)
    memory = {way: workers[f"{way} engine"].measure("memory", 0.0) for way in WAYS}
    info = {way: workers[f"{way} bare"].info for way in WAYS}
    result = {
        "kind": "weak pass",
        "configuration": describe_work(own, cfg),
        **info["joint"]["environment"],
        "images_per_step": images_per_step(cfg),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "load": {"before": load, "after": os.getloadavg()[0]},
        "passes": {way: info[way]["passes"] for way in WAYS},
        **summarize(readings, memory, images_per_step(cfg)),
        "config": cfg.model_dump(mode="json", exclude={"out"}),
    }
    show(result, console)
    if args.out:
        measure.store(args.out, result, [cfg.seed])


def start_workers(plans: dict[str, Plan], workers: dict[str, measure.Worker], say: Console) -> None:
    """Builds one variant after the other into `workers`."""
    for way, plan in plans.items():
        for name, build in (("bare", Bare), ("engine", Engine)):
            say.print(f"building {way} {name}", highlight=False)
            workers[f"{way} {name}"] = measure.Worker(f"{way} {name}", build, plan)


def run_rounds(
    kinds: Sequence[str], workers: dict[str, measure.Worker], rounds: int, seconds: float, say: Console
) -> dict[str, list[measure.Reading]]:
    """Every measurement once a round, both ways of each one after the other; every other round backwards."""
    todo = [(kind, way) for kind in kinds for way in WAYS]
    readings: dict[str, list[measure.Reading]] = {f"{way} {kind}": [] for kind, way in todo}
    for number in range(rounds):
        say.print(f"round {number + 1} of {rounds}", highlight=False)
        for kind, way in todo if number % 2 == 0 else reversed(todo):
            worker = workers[f"{way} bare"] if kind == "bare" else workers[f"{way} engine"]
            readings[f"{way} {kind}"].append(worker.measure("step" if kind == "bare" else kind, seconds))
    return readings


def summarize(
    readings: dict[str, list[measure.Reading]], memory: dict[str, measure.Reading], images: int
) -> dict[str, Any]:
    """Speeds and memory of both ways, and their ratios: above 1, separate is better."""
    steps = {key: [r["steps"] / r["seconds"] for r in of_key] for key, of_key in readings.items()}
    found: dict[str, Any] = {"measurements": {}, "ratios": {}, "notes": []}
    for key, speeds in steps.items():
        found["measurements"][key] = {
            "images_per_second": measure.spread([images * speed for speed in speeds]),
            "steps_per_second": measure.spread(speeds),
            "cpu_seconds": measure.spread([r["cpu_seconds"] / r["steps"] for r in readings[key]]),
            "peak_bytes": max(r["peak_bytes"] for r in readings[key]),
        }
        if not all(r["idle"] for r in readings[key]):
            found["notes"].append(f"{key} was not idle after each of its windows: it disturbed what followed")
    spent = {key: [r["cpu_seconds"] / r["steps"] for r in of_key] for key, of_key in readings.items()}
    for kind in KINDS:
        if f"joint {kind}" in steps:
            joint, separate = f"joint {kind}", f"separate {kind}"
            found["ratios"][f"{kind}: separate / joint"] = measure.ratio(steps[separate], steps[joint])
            found["ratios"][f"{kind}: CPU seconds, joint / separate"] = measure.ratio(spent[joint], spent[separate])
    for way in WAYS:
        found["ratios"][f"{way}: step / bare"] = measure.ratio(steps[f"{way} step"], steps[f"{way} bare"])
        found["measurements"][f"{way} step"]["step_bytes"] = memory[way]["step_bytes"]
    taken = [memory[way]["step_bytes"] for way in WAYS]
    found["ratios"]["memory of a step: joint / separate"] = measure.ratio([taken[0]], [taken[1]])
    return found


def show(result: dict[str, Any], console: Console) -> None:
    work = result["configuration"]
    console.print(
        f"{work['algorithm']}, {work['model']}, {work['image_size']} px, {work['labeled']} + "
        f"{result['images_per_step'] - work['labeled']} images a step, {work['precision']}, "
        f"{'compiled' if work['compiled'] else 'eager'}, replay {work['replayed']}\n{measure.describe(result)}",
        highlight=False,
    )
    console.print(table(result))
    for name, ratio in result["ratios"].items():
        console.print(f"{name}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})", highlight=False)
    for way, passes in result["passes"].items():
        console.print(f"{way}: {'; '.join(passes)}", highlight=False)
    before, after = result["load"].values()
    if max(before, after) > 2 * measure.cores():
        shared = f"note: others had the cores too (load {before:.0f} before, {after:.0f} after)"
        console.print(f"{shared}: take the ratios of CPU seconds", highlight=False)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False)


def table(result: dict[str, Any]) -> Table:
    found = Table()
    for column in ("", "joint, images/s", "min to max", "separate, images/s", "min to max", "separate / joint"):
        found.add_column(column, justify="right" if column else "left", no_wrap=True)
    for kind, label in KINDS.items():
        if f"joint {kind}" not in result["measurements"]:
            continue
        cells = []
        for way in WAYS:
            speed = result["measurements"][f"{way} {kind}"]["images_per_second"]
            cells += [f"{speed['median']:,.4g}", f"{speed['min']:,.4g} to {speed['max']:,.4g}"]
        found.add_row(label, *cells, f"{result['ratios'][f'{kind}: separate / joint']['median']:.2f}")
    taken = [f"{result['measurements'][f'{way} step']['step_bytes'] / 2**20:,.1f} MiB" for way in WAYS]
    ratio = 1 / result["ratios"]["memory of a step: joint / separate"]["median"]
    found.add_row("memory of a step", taken[0], "", taken[1], "", f"{ratio:.2f}")
    return found
