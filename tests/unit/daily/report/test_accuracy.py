"""Accuracy comes from audits of the newest network alone."""

from pathlib import Path

import pytest

from semisonic.daily.report.accuracy import audited_runs, day_accuracy
from semisonic.daily.report.known import Known, reading
from semisonic.daily.report.model import Accuracy
from tests.support.daily_days import add_day, give, new_project, three_days


def test_an_audit_tells_the_accuracy(known: Known):
    found, precision, gain = day_accuracy(known)
    assert (found.run, found.of, found.labels, found.by_people, found.by_network) == ("day-003", "day 3", 60, 37, 23)
    assert (found.drawn, found.waiting, found.checked_by) == (40, 9, ["ann"])
    assert (
        found.auto_labels is not None
        and found.auto_labels.n == 31
        and found.said.startswith("Of the 60 labels of day 3, ")
    )
    assert found.handed_out is not None and found.handed_out.value > found.auto_labels.value
    assert sum(part.size for part in found.parts) == 58 and sum(part.right for part in found.parts) == 27
    assert [part.certainty for part in found.parts] == sorted(part.certainty for part in found.parts)
    assert precision[1][:2] == (6, 6) and precision[1][2] is None, "too few checked to say"
    assert precision[2][2] is not None and gain is not None and 0 < gain < found.auto_labels.half_width
    assert set(audited_runs(known)) == {"day-001", "day-003"}


@pytest.mark.parametrize("step", ["begun", "labeled", "audit drawn"])
def test_without_a_look_nothing_is_claimed(tmp_path: Path, step: str):
    if step == "audit drawn":
        project = three_days(tmp_path, looks=0)
        with project.store() as store:
            store.undo_last("ann", 5)  # suspicious ones, of which some are in the audit
    else:
        project = new_project(tmp_path)
        with project.store() as store:
            add_day(project, store, 20, labeled=4)
            if step == "labeled":
                give(project, store, "day-001")
    with reading(project) as known:
        found, precision, gain = day_accuracy(known)
    figures = {"handed_out", "auto_labels", "sure", "doubtful", "warning", "parts", "more_for_two_points", "said"}
    assert all(not getattr(found, name) for name in figures) and figures < set(Accuracy.model_fields)
    assert precision == {} and gain is None
    assert (found.confidence is None) == (step == "begun") and found.drawn == found.waiting == (
        40 if step == "audit drawn" else 0
    )
