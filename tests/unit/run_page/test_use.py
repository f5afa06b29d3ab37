"""How labels and pool were used, and labels that a network was slow to learn."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from semisonic.run_page.facts import Seen
from semisonic.run_page.use import margins_of, parts_of
from semisonic.schema import UserError


def test_every_part_and_how_often_it_was_seen(planted, data):
    fields = ("--batch.labeled", "8", "--batch.unlabeled-ratio", "2")
    parts = {part.name: part for part in parts_of(planted(*fields), Seen(data=data))}
    assert parts["labeled"].count == 6 and parts["labeled"].text == "2 a class; each seen about 133 times"
    assert parts["unlabeled pool"].text.endswith("each seen about 133 times") and parts["test"].count == 9
    assert "held out" not in parts
    parts = {part.name: part for part in parts_of(planted("--algorithm", "supervised"), Seen())}
    assert parts["unlabeled pool"].text == "not read by this method"


def table(folder: Path, **columns: object) -> None:
    (folder / "labels").mkdir(exist_ok=True)
    parquet.write_table(pyarrow.table(columns), folder / "labels" / "margins.parquet")


def test_the_smallest_margins_come_first(planted, data):
    facts = planted()
    assert margins_of(facts, Seen(data=data)) is None
    table(
        facts.folder,
        index=[3, 4, 5, 6],
        sum=[-10.0, 4.0, -30.0, 0.0],
        n=[10, 10, 10, 0],
        **{"class": ["cat", "dog", "<b>", "cat"]},
    )
    margins = margins_of(facts, Seen(data=data))
    assert (margins.labels, margins.below) == (3, 2), "a label that was never drawn has no margin"
    assert [(one.label, one.margin, one.name) for one in margins.shown] == [
        ("<b>", -3, "image 5"),
        ("cat", -1, "image 3"),
    ]
    assert margins.pictured and all(one.uri for one in margins.shown)
    assert not margins_of(facts, Seen()).pictured


def test_another_table_is_a_mistake(planted):
    facts = planted()
    table(facts.folder, index=[1])
    with pytest.raises(UserError, match="not a table of margins"):
        margins_of(facts, Seen())
