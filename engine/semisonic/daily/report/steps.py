"""What a person does next, in images and minutes."""

from semisonic.daily.report.known import Known
from semisonic.daily.report.model import Step
from semisonic.daily.steps import AFTER


def steps(known: Known, pace: float, gain: float | None) -> list[Step]:
    """gain: the half width of the interval once the audit is looked through."""

    def look(what: str, images: int, gain: float | None = None) -> Step:
        return Step.model_validate({"what": what, "images": images, "minutes": images / pace, "gain": gain})

    if not known.today.any():
        return [Step(what="add", images=0, minutes=None, gain=None)]
    found, waiting = [], known.waiting
    if known.run is None or known.days_of_runs.get(known.run) != known.day:
        for name, what in (("second-look", "second-look"), ("farthest", "label" if known.day == 1 else "farthest")):
            if images := waiting.get(name, 0):
                found.append(look(what, images))
        return [*found, Step(what="train", images=0, minutes=None, gain=None)]
    for name in ("second-look", *AFTER):
        if images := waiting.get(name, 0):
            found.append(look(name, images, gain if name == "audit" else None))
    return [*found, Step(what="add", images=0, minutes=None, gain=None)]
