"""The days of a project one after the other."""

from collections.abc import Mapping

import numpy as np

from semisonic.daily.report.history import day_of
from semisonic.daily.report.known import Known
from semisonic.daily.report.model import Day, Estimate
from semisonic.daily.store.database import read_table


def course(known: Known, audited: Mapping[str, Estimate]) -> list[Day]:
    """Every day up to the present one. audited: by run, what the audit says of its labels."""
    images = known.store.day_of_images()
    labeled = _labeled_by(known)
    newest = {day: run for run, day in known.days_of_runs.items() if _has_labels(known, run)}
    looks = known.looks
    found = []
    for number in range(1, known.day + 1):
        here = looks.day == number
        run = newest.get(number)
        found.append(Day(
            number=number, images=images.get(number, 0), by_people=int((labeled <= number).sum()),
            looks=int(here.sum()), errors=int((here & looks.corrected).sum()), run=run,
            accuracy=audited.get(run) if run is not None else None,
        ))  # fmt: skip
    return found


def _has_labels(known: Known, run: str) -> bool:
    return run == known.run or (known.project.auto / run).is_dir()


def _labeled_by(known: Known) -> np.ndarray:
    """Of each image that has a label of a person, the day on which it was first decided."""
    rows = read_table(
        known.store.connection,
        "SELECT image, min(id) FROM event WHERE kind = 'label' AND image IS NOT NULL GROUP BY image", 2,
    )  # fmt: skip
    by_person = known.current.image[known.by_person]
    first = rows[np.isin(rows[:, 0], by_person), 1]
    return day_of(known.first, first)
