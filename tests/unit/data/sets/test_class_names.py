"""Classes that are probably one, or none."""

import pytest

from semisonic.data.sets.class_names import alike_problems, no_label_problems


@pytest.mark.parametrize(
    "names",
    [
        "1 1.0",
        "01 1",
        "Cat cat",
        "red_fox red-fox",
        "caf\u00e9 cafe\u0301",
        "\uff11 1",
        "stra\u00dfe STRASSE",
        "1e3 1000",
    ],
)
def test_names_that_are_probably_one_are_named(names: str):
    (line,) = alike_problems("data.csv", "labels.csv", ["other", *names.split()])
    first, second = sorted(names.split())
    assert line.startswith("data.csv: labels.csv has classes that are probably one: ")
    assert repr(first) in line and repr(second) in line and "other" not in line


def test_blanks_that_cannot_be_seen_are_shown():
    (line,) = alike_problems("data.root", "x", ["cat", "cat ", "red  fox", "red fox", "dog\u200b", "dog"])
    assert "'cat' and 'cat '" in line and "'red  fox' and 'red fox'" in line and "'dog' and 'dog\\u200b'" in line


def test_long_numbers_are_compared_to_their_last_digit():
    names = ["12345678901234567", "12345678901234568", "1e400", "1e500", "9" * 200, "9" * 201]
    assert alike_problems("data.root", "x", names) == []


def test_names_that_are_different_are_left_alone():
    assert alike_problems("data.root", "x", ["1", "10", "1.5", "a", "A", "cat", "cats", "v1", "v1.0", "-1", "e1"]) == []


def test_many_pairs_are_cut_short():
    (line,) = alike_problems("data.root", "x", [name for n in range(8) for name in (f"c{n}", f"C{n}")])
    assert "'C4' and 'c4' and 3 others; give them one name" in line


def test_lines_of_labels_that_stand_for_none():
    many, one = no_label_problems("l.csv, ", {"nan": list(range(2, 10)), "NA": [12]})
    assert many.startswith("data.csv: l.csv, lines 2, 3, 4, 5, 6 and 3 more have the label 'nan', which mostly stands")
    assert one.startswith("data.csv: l.csv, line 12 has the label 'NA'") and one.endswith("data.doubts=warn")
