"""Paths in stored results."""

from pathlib import Path
from typing import Any

import pytest

from _extension.stored import find, load
from _extension.words import BadReference, marked
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    "file, path, value",
    [
        ("rows.csv", "entry=uda/error", 3.15),
        ("rows.csv", 'entry="a=b/c"/error', 2.5),
        ("rows.csv", r"entry=a\=b\/c/error", 2.5),
        ("rows.csv", "entry=fixmatch/seconds", -20),
        ("rows.csv", "-1/entry", "fixmatch"),
        ("rows.csv", "seconds=/entry", "a=b/c"),
        ("rows.csv", "error=12.0/entry", "fixmatch"),
        ("one.json", "cells/arm=x&seed=1/error", 3.0),
        ("one.json", "cells/arm!=x/seed", 0),
        ("one.json", "cells/arm=y|z/seed", 0),
        ("one.json", "cells/*arm=x/error/mean()", 2.0),
        ("one.json", "cells/*arm=x/error/max()", 3.0),
        ("one.json", "cells/*/seed/sum()", 1),
        ("one.json", "cells/*arm=x/count()", 2),
        ("one.json", "cells/count()", 3),
        ("one.json", 'seconds/"none / aum"/min', 1.5),
        ("one.json", "seconds/*/median/deviation()", 2**0.5),
        ("one.json", "seconds/*/name()", ["none / aum", "aum"]),
        ("one.json", "done", True),
    ],
)
def test_a_path_leads_to_its_value(results: Path, file: str, path: str, value: Any):
    assert find(load(results / file), marked(path)) == value


@pytest.mark.parametrize(
    "file, path, message",
    [
        ("rows.csv", "entry=vat/error", "entry=vat: none of 3 rows; expected one"),
        ("rows.csv", "error!=0/error", "error!=0: 3 of 3 rows; expected one"),
        ("rows.csv", "entry=uda/eror", "eror: is no name; expected entry, error"),
        ("rows.csv", "3/error", "3: there are 3 in the file"),
        ("rows.csv", "method=uda/error", "method: is no name"),
        ("one.json", "done/x", "x: nothing follows done by that name"),
        ("one.json", "done/*", "done: is True, no list"),
        ("one.json", "done/a=b", "done: is True, no list"),
        ("one.json", "cells/*/error/mean()", r"mean\(\): None is no number"),
        ("one.json", "cells/*arm=y/seed/deviation()", r"deviation\(\): of 1 numbers"),
        ("one.json", "cells/*arm", "arm: is no condition; expected NAME=VALUE"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(results: Path, file: str, path: str, message: str):
    with pytest.raises(BadReference, match=message):
        find(load(results / file), marked(path))


@pytest.mark.parametrize(
    "name, message", [("no.csv", "there is no such file"), ("a.txt", "is a .csv or a .json"), ("bad.json", "Expecting")]
)
def test_a_file_that_cannot_be_read_is_named(results: Path, name: str, message: str):
    (results / "bad.json").write_text("{")
    with pytest.raises(BadReference, match=f"{name}: .*{message}"):
        load(results / name)


def test_every_stored_result_can_be_read():
    folder = ROOT / "benchmarks" / "results"
    assert all(load(file) for file in folder.iterdir() if file.suffix in (".csv", ".json"))
