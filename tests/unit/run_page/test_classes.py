"""Classes: errors, precision, shares, and what is taken for what."""

import numpy as np
import pytest

from semisonic.run_page import classes
from semisonic.run_page.classes import TABLE, matrix_of, rows_of
from semisonic.run_page.facts import Seen

CONFUSION = [[3, 0, 0], [1, 2, 0], [2, 1, 0]]


def test_the_worst_class_comes_first(planted, data):
    rows = rows_of(planted(last={"train/class_share": [0.6, 0.2, 0.0]}), Seen("test", 100, CONFUSION, data=data))
    assert [row.name for row in rows] == ["<b>owl</b>", "dog", "cat"]
    assert [row.error for row in rows] == pytest.approx([1, 1 / 3, 0]) and [row.images for row in rows] == [3, 3, 3]
    assert [row.precision for row in rows] == [None, pytest.approx(2 / 3), 0.5], "nothing is taken for an owl"
    assert [row.pseudo for row in rows] == pytest.approx([0, 0.25, 0.75])
    assert [row.pool for row in rows] == pytest.approx([1 / 3] * 3) and {row.labels for row in rows} == {2}


def test_without_images_recall_is_as_the_run_noted_it(planted):
    rows = rows_of(planted(), Seen("test", missing="gone"))
    assert [(row.name, row.recall, row.precision) for row in rows] == [
        ("<b>owl</b>", 0.75, None),
        ("dog", 0.95, None),
        ("cat", 1.0, None),
    ]
    assert rows_of(planted(lines=[]), Seen())[0].error is None


def test_a_pool_that_is_hardly_labeled_has_no_shares(planted, data):
    data.train.labels[2:] = -1
    assert {row.pool for row in rows_of(planted(), Seen("test", 100, CONFUSION, data=data))} == {None}


def test_confusions_are_counted():
    matrix = matrix_of(["cat", "dog", "owl"], CONFUSION)
    assert (matrix.wrong, matrix.count) == (4, 9) and matrix.picture is None
    first = matrix.pairs[0]
    assert (first.true, first.predicted, first.count, first.share) == ("owl", "cat", 2, pytest.approx(2 / 3))
    assert matrix.rows[1] == [(1, pytest.approx(1 / 3)), (2, pytest.approx(2 / 3)), (0, 0.0)]


def test_many_classes_are_a_picture():
    matrix = matrix_of([str(c) for c in range(TABLE + 1)], np.eye(TABLE + 1, dtype=int).tolist())
    assert matrix.rows == [] and matrix.pairs == [] and matrix.picture.uri.startswith("data:image/png")


def test_of_too_many_classes_there_is_no_picture_but_what_is_confused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classes, "LARGEST", 2)
    matrix = matrix_of(["cat", "dog", "owl"], CONFUSION)
    assert matrix.rows == [] and matrix.picture is None
    assert (matrix.pairs[0].true, matrix.pairs[0].share, matrix.wrong) == ("owl", pytest.approx(2 / 3), 4)
