"""What throughput.py does for several algorithms: each one's step against the bare passes that it needs."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

import measure
from variants import Bare, Engine, Plan, images_per_step

EXPLAINED = 0.8
"""A step below this share of its bare passes is pointed out."""

MakePlan = Callable[[argparse.Namespace, Sequence[str]], tuple[Plan, Any]]


def names(asked: str) -> list[str]:
    """The algorithms that `--algorithm` names: all, or a list."""
    from semisonic.algorithms.registry import ALGORITHMS

    wanted = list(ALGORITHMS) if asked == "all" else [name for name in asked.split(",") if name]
    if not wanted:
        raise measure.Mistake(["--algorithm: names no algorithm"])
    return list(dict.fromkeys(wanted))


def execute(args: argparse.Namespace, rest: Sequence[str], workers: dict[str, measure.Worker], plan: MakePlan) -> None:
    """Measures one algorithm after the other; one that fails is reported at the end, after the others' table."""
    if args.plot or args.profile:
        raise measure.Mistake(["--plot, --profile: are for one algorithm; name one"])
    say, console = Console(stderr=True), Console(width=max(140, Console().width))
    plans = {}
    for name in names(args.algorithm):
        plans[name] = plan(argparse.Namespace(**{**vars(args), "algorithm": name}), rest)
    result: dict[str, Any] = {"kind": "methods", "measurements": {}, "ratios": {}, "notes": []}
    failed = []
    for name, (own, cfg) in plans.items():
        try:
            row = measured(name, own, cfg, args, workers, say)
        except measure.Failed as error:
            failed.append(error)
            result["notes"].append(f"{name} failed: {error.text.splitlines()[-1]}")
            continue
        result.setdefault("environment", row.pop("environment", None))
        row.pop("environment", None)
        result["measurements"][name] = row
        result["ratios"][f"{name}: step / bare"] = row["ratio"]
        if not row.pop("idle"):
            result["notes"].append(f"{name}: a process was not idle while the other measured")
        if row["ratio"]["median"] < EXPLAINED:
            result["notes"].append(f"{name} reaches {row['ratio']['median']:.0%} of its bare passes")
    if result["measurements"]:
        finish(result, plans, args, console)
    if failed:
        raise failed[0]


def measured(
    name: str, plan: Plan, cfg: Any, args: argparse.Namespace, workers: dict[str, measure.Worker], say: Console
) -> dict[str, Any]:
    """Both variants of one algorithm, built, measured in turn, and ended."""
    say.print(f"{name}: building", highlight=False)
    try:
        workers["bare"] = measure.Worker("bare", Bare, plan)
        workers["step"] = measure.Worker("step", Engine, plan)
        info = workers["bare"].info
        readings: dict[str, list[measure.Reading]] = {"bare": [], "step": []}
        for number in range(args.rounds):
            say.print(f"{name}: round {number + 1} of {args.rounds}", highlight=False)
            for key in ("bare", "step") if number % 2 == 0 else ("step", "bare"):
                readings[key].append(workers[key].measure("step", args.seconds))
    finally:
        for key in ("bare", "step"):
            if key in workers:
                workers.pop(key).close()
    images = images_per_step(cfg)
    speeds = {key: [r["steps"] / r["seconds"] for r in of_key] for key, of_key in readings.items()}
    row: dict[str, Any] = {
        "images_per_step": images,
        "labeled": cfg.batch.labeled,
        "unlabeled": images - cfg.batch.labeled,
        "passes": info["passes"],
        "ratio": measure.ratio(speeds["step"], speeds["bare"]),
        "idle": all(r["idle"] for of_key in readings.values() for r in of_key),
        "environment": info["environment"],
    }
    for key, of_key in speeds.items():
        row[key] = {
            "images_per_second": measure.spread([images * speed for speed in of_key]),
            "steps_per_second": measure.spread(of_key),
            "peak_bytes": max(r["peak_bytes"] for r in readings[key]),
        }
    return row


def finish(result: dict[str, Any], plans: dict[str, Any], args: argparse.Namespace, console: Console) -> None:
    """Shows the result, and writes it where that is asked for."""
    plan, cfg = next(iter(plans.values()))
    work = {
        "model": cfg.model.name,
        "image_size": plan.image_size,
        "classes": plan.classes,
        "precision": cfg.arithmetic.name,
        "compiled": cfg.compiled,
        "replayed": {name: own.replayed for name, (_, own) in plans.items()},
        "deterministic": cfg.deterministic,
        "batches": {name: f"{own.batch.labeled} + {own.batch.unlabeled}" for name, (_, own) in plans.items()},
        "data": "none" if not plan.with_data else "synthetic" if plan.images else cfg.data.name,
        "seed": cfg.seed,
    }
    environment = result.pop("environment")
    result = {
        "kind": result["kind"],
        "configuration": work,
        **environment,
        "rounds": args.rounds,
        "seconds": args.seconds,
        **result,
        "config": {name: own.model_dump(mode="json", exclude={"out"}) for name, (_, own) in plans.items()},
    }
    compiled = "compiled" if work["compiled"] else "eager"
    console.print(
        f"{work['model']}, {work['image_size']} px, {work['precision']}, {compiled}; a step on one resident batch\n"
        f"{measure.describe(environment)}",
        highlight=False,
    )
    console.print(table(result["measurements"]))
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False)
    if args.out:
        measure.store(args.out, result, [work["seed"]])


def table(rows: dict[str, dict[str, Any]]) -> Table:
    found = Table()
    for column in ("", "images", "step, images/s", "bare, images/s", "step / bare", "min to max"):
        found.add_column(column, justify="right" if column else "left", no_wrap=True)
    found.add_column("passes that a step needs")
    for name, row in rows.items():
        ratio = row["ratio"]
        found.add_row(
            name, f"{row['labeled']} + {row['unlabeled']}",
            *(f"{row[key]['images_per_second']['median']:,.4g}" for key in ("step", "bare")),
            f"{ratio['median']:.2f}", f"{ratio['min']:.2f} to {ratio['max']:.2f}", "; ".join(row["passes"]),
        )  # fmt: skip
    return found
