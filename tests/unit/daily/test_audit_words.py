from dataclasses import replace
from datetime import date

import pytest

from semisonic.curation.intervals import Estimate
from semisonic.daily.audit_result import AuditResult
from semisonic.daily.audit_words import days_text, percent, sentences, warning_light

LABELS = Estimate(0.968, 0.949, 0.982, 200, 12_340, "stratified")
RESULT = AuditResult(
    run="day-003", of="day 3", labels=LABELS, handed_out=None, by_people=0,
    sure=Estimate(0.996, 0.98, 1, 120, 9_000, "stratified"),
    doubtful=Estimate(0.61, 0.5, 0.7, 80, 3_340, "stratified"),
    confidence=0.989, warning=None, drawn=200, looked=200, unsure=0, blind=200, people=("ann",),
    first=date(2026, 11, 28), last=date(2026, 11, 28), more=0, classes=[], names={}, pairs=[],
)  # fmt: skip


def test_an_audit_is_told_as_the_documentation_tells_it():
    assert sentences(RESULT) == (
        "Of the 12,340 labels of day 3, 96.8 % are right (95 % interval 94.9 to 98.2), estimated from 200 images that "
        "were drawn at random and checked by a person on 28 November. Sure labels 99.6 %, doubtful ones 61 %. "
        "The network's own mean confidence, 98.9 %, is not a measurement."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"people": ("ann", "bo"), "first": date(2026, 11, 27)},
            "checked by 2 people from 27 November to 28 November.",
        ),
        ({"looked": 150, "blind": 150}, "Of the 200 images drawn, 50 are not checked yet."),
        (
            {"labels": replace(LABELS, n=60, method="cautious")},
            "The interval is a cautious one until most of them are.",
        ),
        ({"labels": replace(LABELS, n=60, method="simple")}, "the interval Clopper and Pearson's."),
        ({"unsure": 3}, "3 that a person could not tell are left out."),
        ({"blind": 190}, "10 were checked where the network's guess was shown."),
        (
            {"handed_out": replace(LABELS, value=0.975, population=13_000), "by_people": 660},
            "Of the 13,000 labels of day 3, 97.5 % are right",
        ),
        (
            {"handed_out": replace(LABELS, value=0.975, population=13_000), "by_people": 660},
            "660 of them are people's own; of the 12,340 that the network gave, 96.8 % were right",
        ),
        (
            {"handed_out": replace(LABELS, value=1, low=1, high=1, population=13_000), "by_people": 13_000},
            "All 13,000 labels of day 3 are people's own by now, who are taken to be right. Of the 12,340 that the "
            "network gave, 96.8 % were right (95 % interval 94.9 to 98.2), estimated from 200 images",
        ),
    ],
)
def test_what_a_reader_must_know_is_said(changes, said):
    assert said in sentences(replace(RESULT, **changes))


def test_what_is_not_wholly_right_is_not_rounded_to_that():
    assert [percent(share) for share in (0.968, 1, 0, 0.9999, 0.0001)] == ["96.8", "100.0", "0.0", "99.9", "0.1"]
    assert percent(0.9999, 0) == "99"


def test_days_are_named():
    assert [days_text(days) for days in ([3], [1, 2, 3], [1, 3])] == ["day 3", "days 1 to 3", "days 1, 3"]


def test_the_warning_light_is_on_where_confidence_leaves_the_interval():
    assert warning_light(0.96, LABELS) is None
    assert warning_light(0.989, LABELS) == (
        "The network is surer than it is right: its mean confidence is 98.9 %, and people found 94.9 to 98.2 % of its "
        "labels right."
    )
    assert warning_light(0.8, LABELS).startswith("The network is less sure than it is right")
