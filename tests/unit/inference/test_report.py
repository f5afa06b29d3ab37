"""What an evaluation prints fits: all of a few classes, and the worst confusions of many."""

import io
import math

import pytest
from rich.console import Console

from semisonic.inference.evaluate import Evaluated
from semisonic.inference.report import show
from semisonic.training.metrics import Evaluation


def printed(confusion: list[list[int]], width: int = 100, labeled: list[int] | None = None) -> str:
    recall = [100 * row[c] / sum(row) if sum(row) else math.nan for c, row in enumerate(confusion)]
    result = Evaluation(50.0, 75.0, 1.0, recall, confusion)
    names = tuple(f"class{number}" for number in range(len(confusion)))
    file = io.StringIO()
    evaluated = Evaluated({"ema": result, "raw": result}, names, "test images", labeled=labeled)
    show(evaluated, Console(file=file, width=width))
    return file.getvalue()


def test_a_few_classes_are_shown_with_their_matrix():
    lines = printed([[3, 1, 0], [0, 0, 0], [2, 0, 2]]).splitlines()
    table = {line.split()[0]: line.split() for line in lines if line.startswith(("class", "mean"))}
    # top-5 of three classes would be 100 %
    assert lines[1].split() == ["net", "top-1", "95", "%", "interval", "loss"]
    assert lines[2].split() == ["ema", "50.00", "%", "21.52", "to", "78.48", "%", "1.0000"]
    assert table["mean"] == ["mean", "8", "53.33", "%", "62.50", "%", "44.44", "%"]
    assert ["class0", "4", "60.00", "%", "75.00", "%", "66.67", "%"] in [line.split() for line in lines]
    assert ["class1", "0", "0.00", "%", "-", "0.00", "%"] in [line.split() for line in lines]
    assert ["class2", "2", "0", "2"] in [line.split() for line in lines]


def test_where_labels_are_uneven_recalls_of_groups_are_shown():
    lines = printed([[4, 0, 0], [1, 3, 0], [2, 0, 2]], labeled=[9, 5, 1]).splitlines()
    at = lines.index("Mean recall of classes, by their labels")
    assert lines[at + 1].split() == ["net", "balanced", "gm", "many", "medium", "few"]
    assert lines[at + 2].split() == ["ema", "75.00", "%", "72.11", "%", "100.00", "%", "75.00", "%", "50.00", "%"]


@pytest.mark.parametrize("classes, width", [(8, 40), (30, 1000)])
def test_of_many_classes_the_worst_confusions_are_shown(classes: int, width: int):
    confusion = [[10 * (row == column) for column in range(classes)] for row in range(classes)]
    confusion[3][5], confusion[2][1] = 10, 4
    text = printed(confusion, width)
    lines = [line.split() for line in text.splitlines()]
    assert "top-5" in text
    at = lines.index(["class3", "class5", "10", "50.00", "%"])
    assert lines[at + 1] == ["class2", "class1", "4", "28.57", "%"] and len(lines) == at + 2


def test_titles_are_one_line_however_narrow_their_tables():
    assert "Confusion (ema): true classes, and how often each was predicted\n" in printed([[1, 0], [0, 1]])
