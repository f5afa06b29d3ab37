"""What comes next in a project: one pure decision of what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from semisonic.daily.store.queues import title_of

FIRST_CHOICE = 40
"""Images to label before the first training; more where there are more than half as many classes."""
FEWEST_CLASSES = 2
"""With labels, for a training."""
AFTER = ("audit", "suspicious", "given")
"""Queues that a labeling fills, in the order in which they are to be looked at."""


@dataclass(frozen=True)
class Facts:
    """What is known of a project, as far as it decides what comes next."""

    folder: str
    """The project's, as commands name it."""
    day: int = 1
    images: int = 0
    """All, but for rejected ones."""
    undecided: int = 0
    """Those of the newest day that no person has decided."""
    classes: int = 0
    labels: int = 0
    """Images with a label of a person."""
    labeled_classes: int = 0
    """Classes that have one."""
    new_labels: int = 0
    """Changes of labels by people since the newest training set was frozen."""
    queues: Mapping[str, int] = field(default_factory=dict)
    """Queue -> images that wait in it."""
    chosen: bool = False
    """Whether images to label were chosen on this day, looked at by now or not."""
    run: str | None = None
    """The newest one that was begun."""
    run_day: int = 0
    finished: bool = False
    """Whether that run is."""
    labeled_run: str | None = None
    """The one whose labels are current."""
    run_reported: bool = False
    """Whether the day's report is newer than the labels of that run."""
    reported: bool = False
    """Whether it is newer than everything."""
    looks: int = 10
    """Images to choose on a later day."""
    seconds: float = 3.0
    """Of a look, by the pace of those who looked last."""
    at_work: str | None = None
    """The process that trains or labels right now."""

    @property
    def trained(self) -> bool:
        """Whether a training of the current day has begun."""
        return self.run is not None and self.run_day == self.day


@dataclass(frozen=True)
class Step:
    """What comes next."""

    say: str
    """One sentence, or what the sub-command does."""
    do: tuple[str, ...] = ()
    """The sub-command that does it with its arguments; (): a person must."""
    images: int = 0
    """That a person must look at."""
    minutes: int = 0
    """That this takes, about."""


def next_step(facts: Facts) -> Step:
    """The one thing to be done, by the program or by a person."""
    waiting = facts.queues
    if facts.at_work:
        return Step(f"Wait: {facts.at_work} is at work in this project")
    if facts.images == 0:
        return Step(f"Add the first images: {_command(facts, 'add FOLDER')}")
    if facts.trained and not facts.finished:  # one of an earlier day is left alone: `train` begins that of this day
        return Step(f"{facts.run} was stopped, and goes on", ("train",))
    if facts.finished and facts.labeled_run != facts.run:
        return Step(f"{facts.run} is trained, and labels all other images", ("label",))
    if waiting.get("second-look"):
        return _look(facts, ("second-look",), "Look again at")
    return _after(facts) if facts.trained else _before(facts)


def _before(facts: Facts) -> Step:
    """Before the day's training."""
    if facts.queues.get("farthest"):
        return _look(facts, ("farthest",), "Label")
    if not facts.chosen and facts.undecided and facts.run and facts.looks:
        return Step(f"the {facts.looks} images farthest from all earlier days", ("choose", str(facts.looks)))
    if not facts.chosen and facts.undecided and facts.labeled_classes < facts.classes:
        count = min(max(FIRST_CHOICE, 2 * facts.classes), facts.undecided)
        return Step(f"{count:,} images to be labeled first, typical and diverse", ("choose", str(count)))
    if facts.labeled_classes < FEWEST_CLASSES:
        missing = FEWEST_CLASSES - facts.labeled_classes
        return Step(
            f"Label images of {missing} more class{'es' if missing > 1 else ''}, without which nothing can be trained, "
            f"under All images on the page: {_command(facts, 'page')}"
        )
    return Step(f"day {facts.day}, on {facts.labels:,} images that people have labeled", ("train",))


def _after(facts: Facts) -> Step:
    """After the day's training and labeling."""
    waiting = any(facts.queues.get(name) for name in AFTER)
    if waiting and facts.run_reported:
        return _look(facts, AFTER, "Check")
    if not facts.reported:
        return Step(f"that of day {facts.day}", ("report",))
    news = f"{facts.new_labels:,} new label{'s' if facts.new_labels != 1 else ''}"
    again = f", or train again with {news}: {_command(facts, 'train')}" if facts.new_labels else ""
    return Step(f"Day {facts.day} is done; add the next images: {_command(facts, 'add FOLDER')}{again}")


def _look(facts: Facts, names: tuple[str, ...], verb: str) -> Step:
    """What a person must look at on the page."""
    parts = [(facts.queues[name], name) for name in names if facts.queues.get(name)]
    total = sum(count for count, _ in parts)
    minutes = max(1, ceil(total * facts.seconds / 60))
    shown = [
        f"{count:,} image{'s' if count != 1 else ''} in the queue {title_of(name, facts.day)}" for count, name in parts
    ]
    what = ", then ".join(shown)
    return Step(
        f"{verb} {what}, about {minutes} minute{'s' if minutes > 1 else ''}: {_command(facts, 'page')}",
        images=total, minutes=minutes,
    )  # fmt: skip


def _command(facts: Facts, rest: str) -> str:
    return f"semisonic daily {facts.folder} {rest}"
