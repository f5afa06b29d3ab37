"""The page of a study."""

import pytest

from semisonic.studies import study_page
from semisonic.studies.declaration import Factor, Setting, Study
from semisonic.studies.results import Result, sentence
from semisonic.studies.study_page import errors, page, part

BASE, OTHER, NONE = Setting("fixmatch"), Setting("fixmatch:a=<1>"), Setting("uda")
FOUND = {
    BASE: Result(BASE, 400, 576_000, {0: 3.0, 1: 4.0, 2: 5.0}, [20.0, 30.0, 40.0]),
    OTHER: Result(OTHER, 400, 576_000, {0: 6.0, 1: 7.25, 2: 7.75}, [30.0] * 3),
    NONE: Result(NONE, 400, 576_000),
}
FACTOR = Factor("decay", "FixMatch", BASE, "0.99", {"<i>": OTHER, "none": NONE}, note="A & B.")
CONTENT = {"data": "digits", "labels": "40", "model": "small", "steps": 400, "seeds": [0, 1, 2], "hardware": "a computer",
           "versions": {"torch": "2"}, "commit": None, "time": "today", "command": "semisonic study x", "compared": 1}  # fmt: skip


def test_a_row_has_error_difference_and_cost_and_marks_what_is_seen():
    base, other, none = part(FACTOR, FOUND, "said")["rows"]
    assert base["cells"] == ("4.00 ± 2.48", "", "3", "400", "576,000", "30") and not base["seen"]
    assert other["cells"][1] == "+3.00 ± 0.62" and other["seen"] and other["entry"] == "fixmatch:a=<1>"
    assert none["cells"] == ("", "", "0", "400", "576,000", "")


def test_the_page_has_all_as_text():
    study = Study("x", "Is a < b?", "", (FACTOR,), notes=("One note.",))
    said = sentence(FACTOR, FOUND)
    text = page(study, FOUND, CONTENT | {"factors": [{"said": said}]})
    assert (
        "Is a &lt; b?" in text and "&lt;i&gt; has a higher error" in text and "A &amp; B." in text and "<i>" not in text
    )
    assert text.count("has a higher error") == 1 and "One note." in text and "1 difference has an interval" in text
    assert "<b>+3.00 ± 0.62</b>" in text and "semisonic study x" in text and "400 steps, seeds 0, 1, 2" in text
    several = Study("x", "Is a < b?", "", (FACTOR, FACTOR))
    twice = page(several, FOUND, CONTENT | {"factors": [{"said": said}] * 2})
    assert twice.count("has a higher error") == 4  # a list of all sentences at the top, and each beside its figures


def test_a_picture_is_inside_what_errors_can_be():
    picture = errors(FACTOR, {"0.99": FOUND[BASE], "wide": Result(OTHER, 1, 1, {0: 1.0, 1: 60.0})})
    assert "test error, %" in picture.svg and "−" not in picture.svg and "wide" in picture.svg


def test_a_picture_that_fails_does_not_end_the_page(monkeypatch: pytest.MonkeyPatch, capsys):
    def fail(*_: object) -> None:
        raise RuntimeError("no font")

    monkeypatch.setattr(study_page, "errors", fail)
    assert part(FACTOR, FOUND, "said")["picture"] == "FixMatch, decay: is left out: RuntimeError: no font"
    assert "warning: the picture 'FixMatch, decay'" in capsys.readouterr().err
