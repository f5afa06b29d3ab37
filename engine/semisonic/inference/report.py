"""What an evaluation prints: a line for each network, one for each class, and which classes are taken for which."""

import math
from collections.abc import Sequence

from rich.console import Console, Group

from semisonic.config.help import table
from semisonic.inference.evaluate import Evaluated
from semisonic.training.metrics import Evaluation

TOP5_FROM = 6
"""Classes from which top-5 says something: of five or fewer it is 100 %."""
MATRIX = 20
"""Classes up to which the whole matrix is printed, where it is not too wide."""
WORST = 10
"""Confusions that are printed in its place."""


def show(evaluated: Evaluated, console: Console) -> None:
    """Prints all of it; what is of single classes for the first of the networks."""
    top5 = len(evaluated.classes) >= TOP5_FROM
    few = any(result.interval for result in evaluated.results.values())
    columns = ("net", "top-1", *(("95 % interval",) if few else ()), *(("top-5",) if top5 else ()), "loss")
    rows = [
        (
            name,
            f"{r.top1:.2f} %",
            *(("{:.2f} to {:.2f} %".format(*r.interval),) if r.interval else ()),
            *((f"{r.top5:.2f} %",) if top5 else ()),
            f"{r.loss:.4f}",
        )
        for name, r in evaluated.results.items()
    ]
    console.print(table(evaluated.images, rows, columns))
    if evaluated.uneven:
        console.print(groups(evaluated))
    name, result = next(iter(evaluated.results.items()))
    console.print(per_class(f"Per class ({name})", result, evaluated.classes))
    console.print(confusions(name, result, evaluated.classes, console))


def groups(evaluated: Evaluated) -> Group:
    """The mean recall of all classes, and of those with many, medium and few labels."""
    found = {name: evaluated.by_class(name) for name in evaluated.results}
    rows = [(name, *(_percent(value) for value in own.values())) for name, own in found.items()]
    return table("Mean recall of classes, by their labels", rows, ("net", *next(iter(found.values()))))


def per_class(title: str, result: Evaluation, classes: Sequence[str]) -> Group:
    """Precision, recall and F1 of every class, and their means over the classes that have one."""
    columns = result.precision, result.recall, result.f1
    rows = [
        (label, f"{sum(row)}", *(_percent(values[index]) for values in columns))
        for index, (label, row) in enumerate(zip(classes, result.confusion, strict=True))
    ]
    means = [_percent(_mean(values)) for values in columns]
    return table(title, [*rows, ("mean", f"{result.count}", *means)], ("class", "images", "precision", "recall", "F1"))


def confusions(name: str, result: Evaluation, classes: Sequence[str], console: Console) -> Group:
    """The confusion matrix where it fits, or else what is confused most often."""
    rows = [(label, *map(str, row)) for label, row in zip(classes, result.confusion, strict=True)]
    matrix = table(f"Confusion ({name}): true classes, and how often each was predicted", rows, ("", *classes))
    wide = console.measure(matrix, options=console.options.update(width=10_000)).maximum > console.width
    if len(classes) <= MATRIX and not wide:
        return matrix
    wrong = [
        (count, sum(row), classes[true], classes[predicted])
        for true, row in enumerate(result.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    lines = [
        (true, predicted, f"{count}", _percent(100 * count / total))
        for count, total, true, predicted in sorted(wrong, key=lambda item: -item[0])[:WORST]
    ]
    title = f"Most frequent confusions ({name}): {len(lines)} of {len(wrong)}"
    return table(title, lines, ("true", "predicted", "images", "of the class"))


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f} %"


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
