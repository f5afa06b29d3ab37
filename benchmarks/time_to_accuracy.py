"""Seconds until the EMA network holds a test error: the engine, a conventional loop and a plain loop over tensors.

    python benchmarks/time_to_accuracy.py --choose [--tasks digits fashion] [--out FILE]     # seeds 10, 11, 12
    python benchmarks/time_to_accuracy.py [--tasks digits fashion] [--seeds 0 1 2 3 4] [--processes 2] [--out FILE]

FixMatch with 40 labels on the network `small`, in fp32, one thread and one core for a training: on the embedded digits,
and on Fashion-MNIST. Each of these is trained with every seed: (i) one recipe in the engine and in the conventional
loop, (ii) both with the recipe that is best for them, (iii) the plain loop over tensors (`tensor_loop.py`) with its
best.

`--choose` tries `CANDIDATES` on other seeds, in the engine and in the loop over tensors, and takes the recipe with the
fewest CPU seconds to a moment from which on the mean error and 1.7 of its deviations over the seeds are together at
most the target: so much is needed for p < 0.01 with five seeds of that spread. (i) is the engine's best of those that
all loops know. The conventional loop's best is, of the recipes tried over tensors, whose training is its own, the one
with the fewest images. On Fashion-MNIST the target itself is chosen so: the error that the engine ends with by the
first recipe and two deviations over the seeds, up to a whole.

The clock is the training's alone. It stands while the weights of the EMA are copied, twenty times a training, and the
networks are evaluated when the training is over, in all loops alike. What comes before the first step (imports,
compilation of kernels) is told beside it.

Met: the error of a training at a moment is the mean of its last three evaluations, so it is held for a tenth of the
training. At each moment a one-sided t-test over the seeds asks whether the mean error of this recipe is below the
target (labels, initial weights, order and views are drawn anew by each; the test images are the same). The target is
met at the first moment from which on p < 0.01 in every test. As they are gone through from the end of the training
until the first that fails, all of them together are wrong once in a hundred times: a fixed sequence needs no
correction.

The cells go round the loops, so that a load of the machine is shared alike; a cell that FILE has is not made again.
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from accuracy_arms import run
from held_errors import LEVEL, first_held, half_width, held, p_value
from semisonic.config.command_line import resolve
from semisonic.config.run_config import RunConfig

RESULTS = Path(__file__).parent / "results"
EVALUATIONS = 20
CHOOSING = (10, 11, 12)
MARGIN = 2
"""Deviations over the seeds that a target of the benchmark's own is above what the engine reaches."""
COMMON = (
    "--no-baseline", "--device", "cpu", "--threads", "1", "--precision", "fp32", "--log.trackers", "none", "--model",
    "small", "--data.labels", "40",
)  # fmt: skip
NEEDED = 1.7
"""Deviations that the mean of five seeds must be below a target for p < 0.01: t(0.99, 4) over the root of 5."""


@dataclass(frozen=True)
class Task:
    fields: tuple[str, ...]
    target: float | None
    """Test error in per cent; None: chosen."""
    most: int | None
    """Test images that count, the first ones; None: all."""
    recipes: dict[str, tuple[str, ...]]


FIXMATCH = ("--algorithm", "fixmatch", "--optim.lr", "0.1", "--ema.decay", "0.99")


def shape(steps: int, labeled: int, *others: str, ratio: int = 7) -> tuple[str, ...]:
    """FixMatch in so many steps."""
    batch = ("--batch.labeled", str(labeled), "--batch.unlabeled-ratio", str(ratio))
    return (*FIXMATCH, "--steps", str(steps), *batch, *others)


# Nothing corrects the running statistics of the loops' own layers.
PLAIN = ("--model.norm-start-up", "0")
COSINE = ("--optim.schedule", "cosine")
SEPARATE = ("--algorithm.weak-pass", "separate")
TASKS: dict[str, Task] = {
    "digits": Task(
        ("--data", "digits"), 3.5, None,
        {
            "800 steps, cosine": shape(800, 32, *PLAIN, *COSINE),
            "1000 steps of 16 + 112, cosine": shape(1000, 16, *PLAIN, *COSINE),
            "1600 steps of 16 + 112, cosine": shape(1600, 16, *PLAIN, *COSINE),
            "800 steps, cosine, separate": shape(800, 32, *COSINE, *SEPARATE),
            "1000 steps of 16 + 112, cosine, separate": shape(1000, 16, *COSINE, *SEPARATE),
            "freematch, 1000 steps of 16 + 112, cosine, separate": shape(
                1000, 16, *COSINE, *SEPARATE, "--algorithm", "freematch"
            ),
        },
    ),
    "fashion": Task(
        ("--data", "fashion-mnist", "--data.root", "/usr/share/datasets/fashion-mnist"), None, 1_000,
        {
            "120 steps of 16 + 112, cosine": shape(120, 16, *PLAIN, *COSINE),
            "120 steps of 16 + 48, cosine": shape(120, 16, *PLAIN, *COSINE, ratio=3),
            "120 steps of 16 + 112, cosine, separate": shape(120, 16, *COSINE, *SEPARATE),
        },
    ),
}  # fmt: skip
CANDIDATES = {
    task: {
        "engine": tuple(content.recipes),
        "tensors": tuple(name for name in content.recipes if "separate" not in name),
    }
    for task, content in TASKS.items()
}
"""Task -> loop -> recipes that are tried for it. Those over tensors are the ones that every loop knows."""
BOTH = ("engine", "conventional")


@dataclass(frozen=True)
class Cell:
    """One training."""

    task: str
    arm: str
    recipe: str
    seed: int
    evaluations: int = EVALUATIONS

    @property
    def fields(self) -> list[str]:
        task = TASKS[self.task]
        return [*COMMON, *task.fields, *task.recipes[self.recipe], "--seed", str(self.seed)]

    def configuration(self, folder: str) -> RunConfig:
        return resolve([*self.fields, "--out", folder])[1]

    @property
    def key(self) -> dict[str, Any]:
        return {"task": self.task, "arm": self.arm, "recipe": self.recipe, "seed": self.seed, "fields": self.fields}

    def made(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return self.key | run(self.arm, self.configuration(folder), self.evaluations, TASKS[self.task].most)


def table_of(cells: Sequence[dict[str, Any]]) -> list[list[float]]:
    """The errors of the trainings of one recipe in per cent, by moment and seed."""
    runs = [held([100 * wrong / cell["images"] for wrong in cell["errors"]]) for cell in cells]
    return [list(moment) for moment in zip(*runs, strict=True)]


def met(cells: Sequence[dict[str, Any]], target: float) -> dict[str, Any]:
    """What the trainings of one loop and recipe, a seed each, have come to."""
    moments = table_of(cells)
    ps = [p_value(errors, target) for errors in moments]
    at = first_held([p < LEVEL for p in ps])
    seconds = None if at is None else [cell["seconds"][at] for cell in cells]
    return {
        "runs": len(cells),
        "error": statistics.fmean(moments[-1]),
        "errors": moments[-1],
        "p": ps[-1],
        "step": None if at is None else cells[0]["steps"][at],
        "p_when_met": None if at is None else ps[at],
        "seconds": seconds,
        "cpu_seconds": None if at is None else [cell["cpu_seconds"][at] for cell in cells],
        "seconds_of_all_steps": [cell["seconds"][-1] for cell in cells],
        "start_up": max(cell["start_up"] for cell in cells),
    }


def reached(cells: Sequence[dict[str, Any]], target: float) -> int | None:
    """The first moment from which on the errors of the seeds are so far below the target that five would show it."""
    return first_held([
        math.isfinite(errors[0]) and statistics.fmean(errors) + NEEDED * statistics.stdev(errors) <= target
        for errors in table_of(cells)
    ])  # fmt: skip


# What is trained.


def of(cells: Sequence[dict[str, Any]], task: str, arm: str, recipe: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The trainings of a loop and recipe with these seeds, as the recipe is now."""
    wanted = [Cell(task, arm, recipe, seed).key for seed in seeds]
    return [cell for key in wanted for cell in cells if {name: cell[name] for name in key} == key]


def choice_of(cells: Sequence[dict[str, Any]], task: str) -> dict[str, Any]:
    """The target, the recipes of (i) and of every loop, and what all that was tried has come to."""
    target, candidates = TASKS[task].target, CANDIDATES[task]
    if target is None:
        ends = table_of(of(cells, task, "engine", candidates["engine"][0], CHOOSING))[-1]
        target = math.ceil(statistics.fmean(ends) + MARGIN * statistics.stdev(ends))
    tried: dict[str, dict[str, Any]] = {}
    for arm, recipes in candidates.items():
        for recipe in recipes:
            if found := of(cells, task, arm, recipe, CHOOSING):
                tried.setdefault(arm, {})[recipe] = trial(found, target)
    best = {arm: cheapest(rows, "cpu_seconds") for arm, rows in tried.items()}
    shared = {name: row for name, row in tried["engine"].items() if name in candidates["tensors"]}
    best["conventional"] = cheapest(tried["tensors"], "images")
    return {"target": target, "same": cheapest(shared, "cpu_seconds"), "best": best, "tried": tried}


def trial(cells: Sequence[dict[str, Any]], target: float) -> dict[str, Any]:
    """What the trainings of a recipe have come to; step, images and seconds are None without the target."""
    at = reached(cells, target)
    fields = resolve([*cells[0]["fields"]])[1].batch
    step = None if at is None else cells[0]["steps"][at]
    return {
        "errors": table_of(cells)[-1],
        "step": step,
        "images": None if step is None else step * (fields.labeled + fields.unlabeled),
        "cpu_seconds": None if at is None else statistics.fmean(cell["cpu_seconds"][at] for cell in cells),
        "cpu_seconds_of_all_steps": statistics.fmean(cell["cpu_seconds"][-1] for cell in cells),
    }


def cheapest(rows: dict[str, Any], cost: str) -> str:
    """The recipe that reaches the target at the least cost; where none does, that with the smallest error."""
    return min(rows, key=lambda name: (rows[name][cost] or math.inf, statistics.fmean(rows[name]["errors"])))


def plan(args: argparse.Namespace, choices: dict[str, Any]) -> Iterator[Cell]:
    """The trainings, loop after loop with each seed."""
    for task in args.tasks:
        for seed in args.seeds:
            if args.choose:
                pairs = [(arm, recipe) for arm, recipes in CANDIDATES[task].items() for recipe in recipes]
            else:
                pairs = [*((arm, choices[task]["same"]) for arm in BOTH), *choices[task]["best"].items()]
            yield from (Cell(task, arm, recipe, seed, args.evaluations) for arm, recipe in dict.fromkeys(pairs))


def pin(cores: Any) -> None:
    """Gives a worker process a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


def make_all(cells: Sequence[Cell], processes: int, done: Callable[[dict[str, Any]], None]) -> None:
    """Trains them, as many at a time as there are processes, each on a core of its own."""
    if processes == 1:
        for cell in cells:
            done(cell.made())
        return
    context = multiprocessing.get_context("spawn")
    cores = context.Queue()
    for core in sorted(os.sched_getaffinity(0))[:processes]:
        cores.put(core)
    with ProcessPoolExecutor(processes, context, initializer=pin, initargs=(cores,)) as pool:
        for future in as_completed([pool.submit(cell.made) for cell in cells]):
            done(future.result())


def execute(args: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    result |= {"kind": "time-to-accuracy", "environment": measure.environment(torch.device("cpu"))}
    cells: list[dict[str, Any]] = result.setdefault("cells", [])
    choices = {} if args.choose else choices_in(args.choice, args.tasks)
    wanted = [cell for cell in plan(args, choices) if not of(cells, cell.task, cell.arm, cell.recipe, [cell.seed])]
    console = Console(stderr=True)

    def done(cell: dict[str, Any]) -> None:
        cells.append(cell)
        name = f"{cell['task']}, {cell['arm']}, {cell['recipe']}, seed {cell['seed']}"
        error = 100 * cell["errors"][-1] / cell["images"]
        console.print(f"{name}: {error:.2f} % after {cell['seconds'][-1]:.1f} s", highlight=False)
        measure.store(args.out, result, measure.seeds_of(cells))

    make_all(wanted, args.processes, done)
    if args.choose:
        result["tasks"] = result.get("tasks", {}) | {task: choice_of(cells, task) for task in args.tasks}
    else:
        found = {task: summary_of(cells, task, choices[task], args.seeds) for task in args.tasks}
        result["tasks"] = result.get("tasks", {}) | found
    measure.store(args.out, result, measure.seeds_of(cells))
    return result


def choices_in(file: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """What --choose has written. Raises `measure.Mistake` where it is not there."""
    choices: dict[str, Any] = json.loads(file.read_text())["tasks"] if file.exists() else {}
    if missing := [task for task in tasks if task not in choices]:
        raise measure.Mistake([f"{file}: nothing was chosen for {' and '.join(missing)}; run it with --choose first"])
    return choices


def summary_of(cells: Sequence[dict[str, Any]], task: str, choice: dict[str, Any], seeds: Sequence[int]) -> Any:
    pairs = {(arm, choice["same"]): "i" for arm in BOTH}
    for arm, recipe in choice["best"].items():
        part = "ii" if arm in BOTH else "iii"
        pairs[arm, recipe] = "i, ii" if (arm, recipe) in pairs else part
    rows = [
        {"part": part, "arm": arm, "recipe": recipe, **met(of(cells, task, arm, recipe, seeds), choice["target"])}
        for (arm, recipe), part in pairs.items()
    ]
    best = {row["arm"]: row for row in rows if row["recipe"] == choice["best"].get(row["arm"])}
    same = {row["arm"]: row for row in rows if row["recipe"] == choice["same"]}
    ratios = {}
    for name, above, below in (
        ("(i) conventional / engine", same.get("conventional"), same.get("engine")),
        ("(ii) conventional / engine", best.get("conventional"), best.get("engine")),
        ("(iii) tensors / engine", best.get("tensors"), best.get("engine")),
    ):
        if above and below and above["seconds"] and below["seconds"]:
            ratios[name] = measure.ratio(above["seconds"], below["seconds"])
        if above and below and name.startswith("(i)"):  # the same steps, whatever they lead to
            ratios["(i) all steps"] = measure.ratio(above["seconds_of_all_steps"], below["seconds_of_all_steps"])
    return {"target": choice["target"], "rows": rows, "ratios": ratios}


def show(result: dict[str, Any], choosing: bool) -> None:
    console = Console(width=max(120, Console().width))
    for task, found in result["tasks"].items():
        table = Table(title=f"{task}: {found['target']:g} % error, 40 labels", title_justify="left")
        head = ("loop", "recipe", "error, %", "CPU s" if choosing else "seconds", *(() if choosing else ("step", "p")))
        for column in head:
            table.add_column(column, justify="left" if column in ("loop", "recipe") else "right")
        for row in [] if choosing else found["rows"]:
            seconds = row["seconds"]
            time = "not met" if seconds is None else f"{statistics.fmean(seconds):.1f} +- {half_width(seconds):.1f}"
            error = f"{row['error']:.2f} +- {half_width(row['errors']):.2f}"
            p = row["p"] if row["p_when_met"] is None else row["p_when_met"]
            step = "" if row["step"] is None else str(row["step"])
            table.add_row(f"({row['part']}) {row['arm']}", row["recipe"], error, time, step, f"{p:.4f}")
        for arm, rows in found["tried"].items() if choosing else ():
            for recipe, row in rows.items():
                chosen = " (chosen)" if found["best"][arm] == recipe else ""
                time = "not reached" if row["cpu_seconds"] is None else f"{row['cpu_seconds']:.1f}"
                table.add_row(arm, recipe + chosen, f"{statistics.fmean(row['errors']):.2f}", time)
        console.print(table)
        for name, ratio in found.get("ratios", {}).items():
            line = f"{name}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
            console.print(line, highlight=False)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--choose", action="store_true", help="try the candidates on other seeds and choose")
    add("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="default: both")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: %(default)s")
    add("--evaluations", type=int, default=EVALUATIONS, help="moments of a training (default: %(default)s)")
    add("--processes", type=int, default=2, help="trainings at a time, a core each (default: %(default)s)")
    add("--choice", type=Path, default=RESULTS / "time-to-accuracy-choice.json", help="default: %(default)s")
    add("--out", type=Path, metavar="FILE", help="JSON to read and to add to (default: of benchmarks/results)")
    args = parser.parse_args(argv)
    args.seeds = list(CHOOSING) if args.choose else args.seeds
    args.out = args.out or (args.choice if args.choose else RESULTS / "time-to-accuracy-cpu.json")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    return measure.exit_code(lambda: show(execute(args), args.choose))


if __name__ == "__main__":
    sys.exit(main())
