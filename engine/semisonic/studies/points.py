"""Errors over numbers of labels and ways to choose the images, and what they say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from semisonic.compare.rows import Estimate, Run, interval
from semisonic.studies.results import sentence_of

RANDOM = "random"
WAYS = (RANDOM, "balanced", "typical")
FIELD = "data.labels_from"
FORMAT = 1


@dataclass(frozen=True)
class Point:
    """One number of labels, chosen one way, by one algorithm; errors in percent of the test images."""

    algorithm: str
    way: str
    labels: int
    errors: dict[int, float]
    """By seed."""

    @property
    def error(self) -> Estimate:
        return interval(list(self.errors.values()))

    def behind(self, other: "Point") -> Estimate | None:
        """Its errors less those of the same seeds of another point; None where they share none."""
        shared = sorted(self.errors.keys() & other.errors.keys())
        return interval([self.errors[seed] - other.errors[seed] for seed in shared]) if shared else None


@dataclass(frozen=True)
class Answer:
    """Of one algorithm and way."""

    best: Point
    smallest: Point
    """With the fewest labels whose mean error is within so many points of the best."""
    surely: Point | None
    """With the fewest whose 95 % interval of the difference lies there as a whole; None where none does."""


def answer(points: Sequence[Point], within: float) -> Answer:
    """points: of one algorithm and way, at least one."""
    ordered = sorted(points, key=lambda point: point.labels)
    best = min(ordered, key=lambda point: point.error.mean)
    smallest = next(point for point in ordered if point.error.mean <= best.error.mean + within)
    return Answer(best, smallest, next((point for point in ordered if _surely(point, best, within)), None))


def _surely(point: Point, best: Point, within: float) -> bool:
    if point is best:
        return True
    found = point.behind(best)
    return found is not None and found.half is not None and found.mean + found.half <= within


def points_of(runs: Sequence[Run]) -> list[Point]:
    """The finished runs of a study's folder, by algorithm, way and number of labels."""
    found: dict[tuple[str, str, int], dict[int, float]] = {}
    for run in runs:
        algorithm, _, rest = run.entry.partition(":")
        way = dict(part.partition("=")[::2] for part in rest.split(":")).get(FIELD)
        if way in WAYS and run.tested and run.labels.isdecimal():
            found.setdefault((algorithm, way, int(run.labels)), {})[run.seed] = run.error
    return [Point(*key, found[key]) for key in sorted(found, key=lambda key: (key[0], WAYS.index(key[1]), key[2]))]


def series_of(points: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    """The points by (algorithm, way), each in the order of their labels."""
    groups = itertools.groupby(points, key=lambda point: (point.algorithm, point.way))
    return {key: list(group) for key, group in groups}


def sentences(points: Sequence[Point], within: float, classes: int) -> list[str]:
    """What the errors say, a sentence each."""
    said = []
    for (algorithm, way), own in series_of(points).items():
        found = answer(own, within)
        near = f"within {within:g} {'point' if within == 1 else 'points'} of the best"
        few, best = found.smallest, found.best
        text = (
            f"{algorithm}, {way} images: {few.labels} labels ({few.labels / classes:g} a class) come {near}, "
            f"{few.error.text()} % error against {best.error.text()} % with {best.labels}"
        )
        if few is best:
            text = (
                f"{algorithm}, {way} images: no fewer than {few.labels} labels come {near}, {best.error.text()} % error"
            )
        if found.surely is None or found.surely.labels > few.labels:
            text += "; over so few seeds the intervals are wider than that"
        said.append(f"{text}.")
    for (algorithm, labels), by_way in against_random(points).items():
        ways = {f"a {way} choice": difference for way, difference in by_way.items()}
        said.append(sentence_of(f"{algorithm}, {labels} labels", f"a {RANDOM} choice", ways))
    return said


def against_random(points: Sequence[Point]) -> dict[tuple[str, int], dict[str, Estimate | None]]:
    """By algorithm and number of labels: the other ways' differences to as many random images."""
    found = {}
    for key in sorted({(point.algorithm, point.labels) for point in points}):
        own = {point.way: point for point in points if (point.algorithm, point.labels) == key}
        random = own.pop(RANDOM, None)
        if random and own:
            found[key] = {way: point.behind(random) for way, point in own.items()}
    return found


def record(points: Sequence[Point], within: float, classes: int, said: Sequence[str]) -> dict[str, Any]:
    """labels.json: errors in percent, half widths of 95 % intervals over seeds."""
    found, chosen = [], against_random(points)
    for (algorithm, way), own in series_of(points).items():
        best = answer(own, within).best
        for point in own:
            behind = point.behind(best)
            against = chosen.get((algorithm, point.labels), {}).get(way)
            found.append({
                "algorithm": algorithm, "choose": way, "labels": point.labels,
                "errors": {str(seed): error for seed, error in sorted(point.errors.items())},
                "error": point.error.mean, "error_half_width": point.error.half,
                "behind_best": behind.mean if behind else None,
                "behind_best_half_width": behind.half if behind else None,
                "against_random": against.mean if against else None,
                "against_random_half_width": against.half if against else None,
            })  # fmt: skip
    smallest = {
        f"{algorithm}, {way}": answer(own, within).smallest.labels
        for (algorithm, way), own in series_of(points).items()
    }
    return {"format": FORMAT, "classes": classes, "within": within, "smallest": smallest, "said": [*said],
            "points": found}  # fmt: skip
