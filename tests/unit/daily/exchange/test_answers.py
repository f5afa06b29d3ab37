"""What a row says of an image, and what may stand: every case."""

import pytest

from semisonic.daily.exchange.answers import Answer, Standing, Wrong, answer_of, is_newer, is_same
from semisonic.daily.exchange.rows import Row
from semisonic.daily.store import State

GIVEN, REVIEWED, REJECTED, UNSURE = State.GIVEN, State.REVIEWED, State.REJECTED, State.UNSURE
CASES = [
    # label, state, exported -> what a person says
    ("cat", "", None, GIVEN),
    ("", "", None, None),
    ("cat", "given", None, GIVEN),
    ("cat", "reviewed", "cat", REVIEWED),
    ("cat", "auto", None, None),
    ("cat", "accepted", "cat", None),
    ("cat", "auto", "dog", REVIEWED),
    ("cat", "accepted", "dog", REVIEWED),
    ("cat", "given", "dog", REVIEWED),
    ("cat", "unlabeled", "", GIVEN),
    ("cat", "", "", GIVEN),
    ("", "unlabeled", "", None),
    ("", "rejected", "", REJECTED),
    ("", "unsure", "", UNSURE),
    ("cat", "unsure", "", REVIEWED),
    ("", "rejected", "cat", REJECTED),
    ("cat", "reviewed", "cat", REVIEWED),
]


@pytest.mark.parametrize(("label", "state", "exported", "says"), CASES)
def test_what_a_row_says(label: str, state: str, exported: str | None, says: State | None):
    found = answer_of(Row("x", label, state, exported=exported), {"cat": 7}.__getitem__)
    assert found == (None if says is None else Answer(says, 7 if says in (GIVEN, REVIEWED) else None))


@pytest.mark.parametrize(
    ("label", "state", "exported", "told"),
    [
        ("cat", "gven", None, "has state 'gven'; one of unlabeled, auto"),
        ("", "given", None, "is given and has no label"),
        ("", "reviewed", "cat", "has lost its label; give another one, or rejected or unsure as its state"),
        ("", "auto", "cat", "has lost its label"),
        ("cat", "rejected", None, "is rejected and has the label cat; leave one of the two out"),
        ("cat", "unsure", "cat", "is unsure and has the label cat"),
    ],
)
def test_what_no_row_may_say(label: str, state: str, exported: str | None, told: str):
    with pytest.raises(Wrong, match=told):
        answer_of(Row("x", label, state, exported=exported), {"cat": 7}.__getitem__)


def test_a_label_is_the_same_whoever_saw_a_guess():
    given = Answer(GIVEN, 7)
    assert is_same(given, Standing(REVIEWED, 7, 3, "")) and not is_same(given, Standing(GIVEN, 8, 3, ""))
    assert not is_same(given, Standing(State.AUTO, 7, None, "")) and not is_same(given, Standing(REJECTED, None, 3, ""))
    assert is_same(Answer(UNSURE, None), Standing(UNSURE, None, 3, "")) and not is_same(
        Answer(UNSURE, None), Standing(REJECTED, None, 3, "")
    )


def test_a_row_that_does_not_know_what_stands_is_older():
    now = Standing(GIVEN, 7, 3, "2026")
    assert not is_newer(Standing(State.AUTO, 7, None, ""), Row("x"))
    assert is_newer(now, Row("x")) and is_newer(now, Row("x", event=2, at="2026", state="given"))
    assert not is_newer(now, Row("x", event=3, at="2026", state="given"))
    assert is_newer(now, Row("x", event=3, at="2025", state="given")), "another project's event of the same number"
    assert not is_newer(Standing(State.AUTO, 7, 3, "2026"), Row("x", event=3, at="of the run", state="auto"))
