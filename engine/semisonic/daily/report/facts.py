"""The day's report from the store of a project and the files of its runs: all its numbers, and no picture."""

from typing import TYPE_CHECKING

from semisonic.daily.report.accuracy import audited_runs, day_accuracy
from semisonic.daily.report.classes import changes, class_facts
from semisonic.daily.report.course import course
from semisonic.daily.report.known import Known, reading
from semisonic.daily.report.model import VERSION, Report
from semisonic.daily.report.people import confusions, pace, queues, reviewers
from semisonic.daily.report.pictures import far, given
from semisonic.daily.report.steps import steps
from semisonic.daily.store import State

if TYPE_CHECKING:
    from semisonic.daily.project import Project


def collect(project: "Project") -> Report:
    """The report of the newest day. The same store and files give the same report."""
    with reading(project) as known:
        return report_of(known)


def report_of(known: Known) -> Report:
    accuracy, precision, gain = day_accuracy(known)
    pairs, corrections = confusions(known)
    speed, measured = pace(known)
    last = known.store.last_event
    states = {
        state.word: count
        for state in State
        if (count := int((known.current.state[known.today] == state).sum()))
    }  # fmt: skip
    return Report(
        version=VERSION, project=known.project.settings.name, day=known.day, event=last,
        at=known.store.event(last).at if last else "", images=int(known.today.sum()),
        images_in_all=len(known.current), states=states, accuracy=accuracy, queues=queues(known),
        classes=class_facts(known, precision), confusions=pairs, corrections=corrections, far=far(known),
        given=given(known), reviewers=reviewers(known), steps=steps(known, speed, gain), pace=speed,
        pace_known=measured, course=course(known, audited_runs(known)), changes=changes(known),
    )  # fmt: skip
