"""How a run uses its unlabeled images, while it runs: coverage, precision, the spread over classes, and an alarm.

An algorithm that makes pseudo-labels returns `coverage`, `pseudo_label_correct`, `pseudo_label_known` and the vector
`class_share` (`algorithms.monitoring.pseudo_label_metrics`). From their means since the last reading
follow

    coverage                 share of the unlabeled images whose pseudo-labels count, as it was returned
    pseudo_label_precision   the right ones among those that count, where the truth is known
    class_entropy            of the classes among those that count, over log C: 1 = all alike, 0 = one class only
    collapsed                number of collapsed classes, with their names in collapsed_classes

A class is **collapsed** when, among the pseudo-labels that counted over the last max(100, steps / 100) steps, it has
less than `log.collapse` (10 %) of the share that it has among the labeled images, and is no longer once it has twice
that. So much is judged only while coverage is at least `log.collapse_coverage` (30 %) and the class should have had 30
pseudo-labels, which chance does not turn into 3. Where the unlabeled images have other class frequencies than the
labeled ones, the alarm may be right and the run healthy.
"""

import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semisonic.config.run_config import RunConfig
from semisonic.reporting.metrics_file import read_metrics
from semisonic.schema import UserError

LEAST_STEPS = 100
"""Steps of the alarm's window, at least."""
EXPECTED = 30
"""Pseudo-labels that a class should have had in the window before it is judged."""
NAMED = 10
"""Collapsed classes that a printed line names."""


class PseudoLabelMonitor:
    """Derives the metrics of pseudo-labels from the training metrics, and keeps the alarm's window.

    classes: names. prior: share of each class among the labeled images, [C].
    """

    def __init__(self, cfg: RunConfig, classes: Sequence[str], prior: Sequence[float]):
        self.limit, self.least_coverage = cfg.log.collapse, cfg.log.collapse_coverage
        self.sizes, self.window = cfg.unlabeled_sizes, max(LEAST_STEPS, cfg.steps // 100)
        self.classes, self.prior_C = classes, np.asarray(prior)
        self.readings: deque[tuple[int, int, np.ndarray]] = deque()
        """(steps, their unlabeled images, the share of these that each class got [C]), oldest first."""
        self.collapsed_C = np.zeros(len(prior), bool)
        self.step = 0

    def restore(self, path: Path, step: int, read: int | None = None) -> None:
        """Takes up the window and the collapsed classes of a run that continues from `step`, from its own metrics.

        read: the step up to which they were read, where the next reading is of steps before `step` too.
        """
        self.step = 0
        if step and path.exists():
            for line in read_metrics(path):
                if line["step"] <= step and (shares := line.get("train/class_share")) is not None:
                    numbers = isinstance(shares, list) and all(isinstance(s, int | float) for s in shares)
                    if not numbers or len(shares) != len(self.prior_C):
                        raise UserError(f"{path}: train/class_share of step {line['step']}: not a share of each class")
                    self._judge(line["step"], shares)
        self.step = step if read is None else read

    def read(self, step: int, metrics: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The metrics of a reading with what follows from them, and a line to print where other classes have collapsed.

        Metrics of a method without pseudo-labels come back as they are.
        """
        if "train/coverage" not in metrics:
            return metrics, None
        result = dict(metrics)
        coverage = result["train/coverage"]
        correct, known = (result.pop(f"train/pseudo_label_{name}", 0.0) for name in ("correct", "known"))
        if known:
            result["train/pseudo_label_precision"] = correct / known
        if "train/class_share" not in result:
            return result, None
        shares_C = result["train/class_share"]
        if coverage:
            result["train/class_entropy"] = normalized_entropy(shares_C)
        before = self.collapsed_C
        self._judge(step, shares_C)
        names = [name for name, collapsed in zip(self.classes, self.collapsed_C, strict=True) if collapsed]
        result["train/collapsed"] = len(names)
        if names:
            result["train/collapsed_classes"] = names
        changed = bool((before != self.collapsed_C).any())
        return result, self._line(step, names) if changed else None

    def _judge(self, step: int, shares_C: Sequence[float]) -> None:
        """Adds a reading to the window, and judges which classes have collapsed where there is enough to go by."""
        images = self.sizes.before(step) - self.sizes.before(self.step)
        self.readings.append((step - self.step, images, np.asarray(shares_C)))
        self.step = step
        covered = sum(steps for steps, _, _ in self.readings)
        while covered - self.readings[0][0] >= self.window:
            covered -= self.readings.popleft()[0]
        counts_C = np.sum([images * shares for _, images, shares in self.readings], axis=0)
        passing, images = counts_C.sum(), sum(images for _, images, _ in self.readings)
        if not self.limit or covered < self.window or passing < self.least_coverage * images:
            return
        expected_C = self.prior_C * passing
        limit_C = np.where(self.collapsed_C, 2 * self.limit, self.limit)  # else a class on the edge would flicker
        self.collapsed_C = np.where(expected_C >= EXPECTED, counts_C < limit_C * expected_C, self.collapsed_C)

    def _line(self, step: int, names: list[str]) -> str:
        if not names:
            return f"step {step:,}: pseudo-labels are spread over all classes again"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return (
            f"step {step:,}: pseudo-labels have collapsed: {len(names)} of {len(self.classes)} classes get less than "
            f"{self.limit:.0%} of their share: {', '.join(names[:NAMED])}{more}"
        )


def normalized_entropy(shares_C: Sequence[float]) -> float:
    """Entropy of non-negative weights, over that of equal ones; 1 for a single class."""
    weights = np.asarray(shares_C, dtype=float)
    p = weights[weights > 0] / weights.sum()
    return float(-(p * np.log(p)).sum() / math.log(len(weights))) if len(weights) > 1 else 1.0


def describe(metrics: dict[str, Any]) -> str:
    """Coverage and precision for the progress line; empty where there are no pseudo-labels."""
    parts = []
    if "train/coverage" in metrics:
        parts.append(f"coverage {100 * metrics['train/coverage']:.0f} %")
    if "train/pseudo_label_precision" in metrics:
        parts.append(f"precision {100 * metrics['train/pseudo_label_precision']:.0f} %")
    if metrics.get("train/collapsed"):
        parts.append(f"{metrics['train/collapsed']} collapsed")
    return " ".join(parts)


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What summary.json says of pseudo-labels, from the lines of metrics.jsonl; empty where there are none.

    The last reading's metrics, and every change of the collapsed classes.
    """
    readings = [line for line in lines if "train/coverage" in line]
    if not readings:
        return {}
    names = ("coverage", "pseudo_label_precision", "class_entropy")
    result = {name: readings[-1][f"train/{name}"] for name in names if f"train/{name}" in readings[-1]}
    changes, current = [], list[str]()
    for line in readings:
        found = line.get("train/collapsed_classes", [])
        if found != current:
            changes.append({"step": line["step"], "classes": found})
            current = found
    return {"pseudo_labels": result | {"collapsed_classes": current, "collapses": changes}}
