"""What a report says: what no person has checked at random is never called accuracy."""

from semisonic.daily.report import words
from semisonic.daily.report.model import Step
from tests.support.daily_reports import SAID, accuracy, report, unaudited


def test_an_audit_speaks_for_itself():
    assert words.headline(report()) == SAID
    assert words.audit(accuracy()) == "210 images drawn at random, 204 of them looked at."
    assert "of which 1.6 to 4.8 % are wrong by the audit" in words.shares(accuracy())


def test_without_an_audit_no_figure_is_an_accuracy():
    made = report(accuracy=unaudited())
    assert words.headline(made) == (
        "How many of the 12,340 labels of day 3 are right is not known yet: no person has checked any at random. The network's "
        "own mean confidence, 98.9 %, is not a measurement; such figures have been up to 21 points too high."
    )
    assert words.more(made) == "" and words.audit(made.accuracy) == "210 images drawn at random, 0 of them looked at."
    assert "How many of them are wrong is not known" in words.shares(made.accuracy)


def test_without_labels_nothing_is_claimed():
    nothing = unaudited(run=None, labels=0, by_people=0, by_network=0, drawn=0, waiting=0, confidence=None)
    assert words.headline(report(accuracy=nothing)) == "No image of day 3 has a label yet."
    assert words.audit(nothing) == "No image has been drawn for an audit."


def test_labels_that_are_all_by_people_need_no_audit():
    made = report(accuracy=unaudited(by_network=0, by_people=12_340, confidence=None))
    assert words.headline(made) == "All 12,340 labels of day 3 were given or confirmed by people."


def test_what_more_looks_bring():
    assert words.more(report()) == "±2 points would take 340 more random images, about 15 minutes."
    assert words.more(report(accuracy=accuracy(more_for_two_points=0))).startswith("The interval is no wider than ±2")
    one = Step(what="audit", images=6, minutes=0.3, gain=0.0166)
    assert words.step(one).endswith("; the interval will be about ±1.7 points.")
    assert words.command(one, "a") == "semisonic daily a page"
    assert words.command(Step(what="add", images=0, minutes=None, gain=None), "a") == "semisonic daily a add FOLDER"


def test_times_and_differences():
    assert [words.minutes(value) for value in (None, 0.4, 1.2, 59, 150)] == [
        "", "less than a minute", "about 1 minute", "about 59 minutes", "about 2.5 hours",
    ]  # fmt: skip
    assert [words.points(value) for value in (0.0123, -0.0004, -0.02)] == ["+1.2", "0.0", "-2.0"]
