"""What stored runs come to: means with 95 % intervals, and differences seed by seed. Measures nothing itself.

    python benchmarks/intervals.py [--out benchmarks/results/intervals.json]

The pages of docs/measured/ take from it what no other stored result has: a method against FixMatch, one way against
another, the classes that a run loses, and the seconds until a seed's own error is held. Errors are in per cent, recalls
too, intervals Student's. A difference is of runs with the same seed.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import measure
from held_errors import first_held, held
from semisonic.compare.rows import interval

RESULTS = Path(__file__).parent / "results"
OUT = RESULTS / "intervals.json"
DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""The classes of Fashion-MNIST, as runs name them."""
HIGH = 8.0
"""Per cent; runs above it are counted where two labels a class are compared."""

BySeed = Mapping[int, float]


def row(of: str, name: str, values: BySeed, **about: Any) -> dict[str, Any]:
    """One mean over seeds, with its interval and its extremes."""
    numbers = [values[seed] for seed in sorted(values)]
    mean = interval(numbers)
    return {
        "of": of, "name": name, **about, "runs": mean.count, "mean": mean.mean, "half_width": mean.half,
        "smallest": min(numbers), "largest": max(numbers), "seeds": sorted(values), "values": numbers,
    }  # fmt: skip


def difference(of: str, name: str, above: BySeed, below: BySeed, against: str, **about: Any) -> dict[str, Any]:
    """The mean of `above` less `below`, of the seeds that both have."""
    both = {seed: above[seed] - below[seed] for seed in above.keys() & below.keys()}
    return row(of, name, both, against=against, **about)


def runs_of(name: str, results: Path) -> list[dict[str, str]]:
    with open(results / name, newline="") as file:
        return list(csv.DictReader(file))


def errors(runs: Sequence[Mapping[str, str]], entry: str, labels: int) -> BySeed:
    chosen = [run for run in runs if (run["entry"], run["labels"]) == (entry, str(labels))]
    return {int(run["seed"]): float(run["error"]) for run in chosen}


def against_fixmatch(of: str, name: str, results: Path) -> Iterator[dict[str, Any]]:
    """Every method's error less FixMatch's."""
    runs = runs_of(name, results)
    fixmatch = errors(runs, "fixmatch", 40)
    for entry in dict.fromkeys(run["entry"] for run in runs):
        if entry != "fixmatch":
            yield difference(of, entry, errors(runs, entry, 40), fixmatch, "fixmatch", labels=40)


def weak_pass(of: str, name: str, field: str, results: Path) -> Iterator[dict[str, Any]]:
    """The error with a forward of their own for weak views, less that with a joint one."""
    runs = runs_of(name, results)
    for labels in dict.fromkeys(int(run["labels"]) for run in runs):
        for method in ("fixmatch", "flexmatch", "freematch"):
            separate, joint = (errors(runs, entry, labels) for entry in (f"{method}:{field}=separate", method))
            if separate and joint:
                yield difference(of, method, separate, joint, "joint", labels=labels)


def growing_batch(results: Path) -> Iterator[dict[str, Any]]:
    """Every arm's error, and that of the growing batch less the constant one's."""
    cells = json.loads((results / "growing-batch-digits-cpu.json").read_text())["cells"]
    of, ways = "growing batch", {"weak": "", "strong": ", strong labels"}
    for budget in (1.0, 0.5):
        for view, ending in ways.items():
            arms: dict[str, BySeed] = {}
            for arm in ("constant", "growing"):
                own = [cell for cell in cells if (cell["arm"], cell["budget"]) == (f"{arm}{ending}", budget)]
                arms[arm] = {cell["seed"]: cell["ema"] for cell in own}
                about = {"budget": budget, "labeled": view, "steps": own[0]["steps"], "passes": own[0]["passes"]}
                yield row(of, arm, arms[arm], **about)
            more = {"budget": budget, "labeled": view}
            yield difference(of, "growing - constant", arms["growing"], arms["constant"], "constant", **more)


def imbalance(results: Path) -> Iterator[dict[str, Any]]:
    """The balanced recall with each option, less that without any."""
    cells = json.loads((results / "imbalance-digits-cpu.json").read_text())["cells"]
    for method in dict.fromkeys(cell["algorithm"] for cell in cells):
        own = [cell for cell in cells if cell["algorithm"] == method]
        by = {option: {c["seed"]: c["balanced"] for c in own if c["option"] == option} for option in
              dict.fromkeys(cell["option"] for cell in own)}  # fmt: skip
        for option in [option for option in by if option != "none"]:
            yield difference("imbalance", option, by[option], by["none"], "none", method=method)


def time_to_accuracy(results: Path) -> Iterator[dict[str, Any]]:
    """Of each training that is reported: its error at the end, and the seconds until each seed's own error is held."""
    stored = json.loads((results / "time-to-accuracy-cpu.json").read_text())
    for task, found in stored["tasks"].items():
        for reported in found["rows"]:
            key = (task, reported["arm"], reported["recipe"])
            cells = [c for c in stored["cells"] if (c["task"], c["arm"], c["recipe"]) == key]
            cells.sort(key=lambda cell: cell["seed"])
            until = []
            for cell in cells:
                ends = held([100 * wrong / cell["images"] for wrong in cell["errors"]])
                at = first_held([error <= found["target"] for error in ends])
                until.append(None if at is None else cell["seconds"][at])
            last = dict(zip((cell["seed"] for cell in cells), reported["errors"], strict=True))
            seconds = [cell["seconds"][-1] for cell in cells]
            yield row(
                "time to accuracy", reported["arm"], last, task=task, part=reported["part"], recipe=reported["recipe"],
                p=reported["p"], seconds_of_all_steps=sum(seconds) / len(seconds), seconds_until_held=until,
                held=", ".join("never" if one is None else f"{one:.0f}" for one in until),
            )  # fmt: skip


def classes_lost(name: str, classes: Sequence[str], results: Path) -> Iterator[dict[str, Any]]:
    """How many classes each run of an entry hardly predicts any more at its end."""
    runs = runs_of(name, results)
    for labels, entry in dict.fromkeys((run["labels"], run["entry"]) for run in runs):
        own = sorted((r for r in runs if (r["labels"], r["entry"]) == (labels, entry)), key=lambda r: int(r["seed"]))
        counts = [lost(run["collapsed_classes"], classes) for run in own]
        yield {
            "of": name.removeprefix("compare-").removesuffix("-runs.csv"), "entry": entry, "labels": int(labels),
            "by_seed": ", ".join(map(str, counts)), "total": sum(counts), "of_classes": len(classes) * len(own),
            "runs": len(own), f"above_{HIGH:g}_percent": sum(float(run["error"]) > HIGH for run in own),
        }  # fmt: skip


def lost(text: str, classes: Sequence[str]) -> int:
    """The number of classes in a text that has their names with spaces between. Raises ValueError for other names."""
    count, left = 0, text.strip()
    while left:
        name = next((name for name in classes if left == name or left.startswith(f"{name} ")), None)
        if name is None:
            raise ValueError(f"{text!r}: {left!r} begins with no class")
        count, left = count + 1, left[len(name) :].lstrip()
    return count


def found(results: Path = RESULTS) -> dict[str, Any]:
    rows = [
        *against_fixmatch("digits", "compare-digits-runs.csv", results),
        *against_fixmatch("fashion", "compare-fashion-runs.csv", results),
        *weak_pass("digits, weak pass", "compare-digits-weak-pass-runs.csv", "weak_pass", results),
        *weak_pass("fashion, weak pass", "compare-fashion-runs.csv", "algorithm.weak_pass", results),
        *growing_batch(results), *imbalance(results), *time_to_accuracy(results),
    ]  # fmt: skip
    classes = [
        *classes_lost("compare-fashion-runs.csv", CLOTHES, results),
        *classes_lost("compare-digits-policies-runs.csv", DIGITS, results),
        *classes_lost("compare-digits-weak-pass-runs.csv", DIGITS, results),
    ]
    return {"kind": "intervals", "rows": rows, "classes_lost": classes}


def show(result: Mapping[str, Any]) -> None:
    table = Table(title="Means and differences, with 95 % intervals", title_justify="left")
    for column in ("of", "", "against", "runs", "mean", "half width", "from", "to"):
        table.add_column(column, justify="right" if column in ("runs", "mean", "half width", "from", "to") else "left")
    for one in result["rows"]:
        numbers = (f"{one[key]:.2f}" for key in ("mean", "half_width", "smallest", "largest"))
        table.add_row(one["of"], one["name"], one.get("against", ""), str(one["runs"]), *numbers)
    Console(width=120).print(table, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: benchmarks/results")
    args = parser.parse_args(argv)
    result = found()
    show(result)
    about = {"environment": measure.environment(torch.device("cpu")), **result}
    measure.store(args.out, about, "none: the runs of other results are summed up; their seeds are in the rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
