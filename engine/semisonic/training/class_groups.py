"""Metrics that a majority class cannot carry: means over classes, and over those with many and with few labels.

All follow from the counts of an evaluation's confusion matrix.
"""

import math
from collections.abc import Sequence

from semisonic.training.metrics import Evaluation

GROUPS = ("many", "medium", "few")
"""Thirds of the classes by their labeled images."""
FIGURES = ("balanced", "gm", *GROUPS)
"""Of an evaluation where classes differ in their numbers of images."""


def groups(counts: Sequence[int]) -> dict[str, list[int]]:
    """The classes with many, medium and few of the labeled images: of 10 classes 3, 4 and 3. counts: [C].

    Of as many images, the class that comes first is the larger one.
    """
    order, third = sorted(range(len(counts)), key=lambda c: -counts[c]), round(len(counts) / 3)
    ends = third, len(counts) - third
    return dict(zip(GROUPS, (order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] :]), strict=True))


def balanced(recalls: Sequence[float]) -> float:
    """The mean of recalls in percent, without those that are nan for want of images; nan where there is none."""
    known = [recall for recall in recalls if not math.isnan(recall)]
    return math.fsum(known) / len(known) if known else math.nan


def geometric(recalls: Sequence[float]) -> float:
    """The geometric mean of recalls in percent, each at least 1/(100 C): one class at 0 does not make all of it 0."""
    known = [recall / 100 for recall in recalls if not math.isnan(recall)]
    least = 1 / (100 * len(known)) if known else math.nan
    return 100 * math.exp(math.fsum(math.log(max(recall, least)) for recall in known) / len(known)) if known else least


def by_class(result: Evaluation, labeled: Sequence[int] | None) -> dict[str, float]:
    """`balanced`, `gm` and the recall of each group, in percent; labeled: labeled images of every class [C], if known.

    {} where every class has as many images, labeled and evaluated: there top-1 says it all. A group of which no image
    is evaluated is not in it.
    """
    uneven = labeled is not None and len(set(labeled)) > 1
    if not uneven and len({sum(row) for row in result.confusion}) == 1:
        return {}
    figures = {"balanced": balanced(result.recall), "gm": geometric(result.recall)}
    if labeled is not None and uneven:
        figures |= {name: balanced([result.recall[c] for c in own]) for name, own in groups(labeled).items()}
    return {name: value for name, value in figures.items() if not math.isnan(value)}
