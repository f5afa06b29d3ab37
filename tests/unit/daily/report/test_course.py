"""The days of a project."""

from semisonic.daily.report.accuracy import audited_runs
from semisonic.daily.report.course import course
from semisonic.daily.report.known import Known


def test_every_day_has_its_own_figures(known: Known):
    one, two, three = course(known, audited_runs(known))
    assert [(day.number, day.images, day.run) for day in (one, two, three)] == [
        (1, 60, "day-001"), (2, 60, "day-002"), (3, 60, "day-003"),
    ]  # fmt: skip
    assert [day.by_people for day in (one, two, three)] == [6 + 12 + 20, 38, 75]
    assert [day.looks for day in (one, two, three)] == [32, 0, 37]
    assert two.accuracy is None and one.accuracy is not None and one.accuracy.n == 20
    assert three.errors == 6 and three.accuracy is not None and three.accuracy.population == 58
