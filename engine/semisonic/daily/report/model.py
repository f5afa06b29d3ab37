"""What a day's report says, as `report/day-003.json` holds it: the numbers behind every sentence, table and picture.

Shares are from 0 to 1. Classes and images go by the numbers that the store has for them, with their names beside.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from semisonic.records.reading import MEGABYTE, read_json
from semisonic.records.schemas import mistakes
from semisonic.schema import UserError
from semisonic.text import dump_json

VERSION: Literal[1] = 1
LARGEST = 256 * MEGABYTE


class Record(BaseModel):
    """What this version does not name is refused: another version of the file would say so."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class Estimate(Record):
    """A share with its 95 % interval."""

    value: float
    """The share."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    n: int
    """Looks of people, or trials, behind it."""
    population: int
    """Of how many images it is the share."""
    method: str
    """simple: Clopper and Pearson's interval of images that were drawn simply at random; stratified: the posterior of
    strata; cautious: Clopper and Pearson's in each stratum."""

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


class Part(Record):
    """Auto-labels that the network is about equally sure of: a stratum of the audit, the least sure first."""

    size: int
    """Images of the part."""
    certainty: float
    """Mean of the network's probability of its own labels: by which the parts were cut, and no measurement."""
    right: int
    """Of those that were looked at, how many have the right label."""
    accuracy: Estimate | None
    """Share of right labels. null: nobody has looked at one."""


class Accuracy(Record):
    """Of the labels that are handed out."""

    run: str | None
    """The network that gave the auto-labels; null: there are none yet."""
    of: str
    """Which images, such as "day 3"."""
    labels: int
    """Labels handed out: by people and by the network."""
    by_people: int
    """Those by people."""
    by_network: int
    """Those by the network."""
    drawn: int
    """Images of the audit."""
    waiting: int
    """Of them, those that nobody has looked at."""
    confidence: float | None
    """The network's own mean confidence in its labels; null: it has given none. Not a measurement."""
    # From here on, what looks at random images tell: nothing where there are none.
    said: str = ""
    """All of it in sentences."""
    handed_out: Estimate | None = None
    """Of all labels that are handed out."""
    auto_labels: Estimate | None = None
    """Of the network's labels, as it gave them."""
    warning: str | None = None
    """Where the network is surer than it is right, or less sure."""
    sure: Estimate | None = None
    """Of the surer parts of the network's labels; null with too few looks."""
    doubtful: Estimate | None = None
    """Of the others; null with too few looks."""
    parts: list[Part] = []
    unsure: int = 0
    """Of the images that were looked at, those of which a person could not tell the class; they do not count."""
    blind: int = 0
    """Of those, the ones that were looked at without the network's label on the screen."""
    checked_by: list[str] = []
    """Names of those who looked."""
    checked_on: list[str] = []
    """Dates of the first and the last look."""
    more_for_two_points: int | None = None
    """Further looks that bring the interval to +-2 points, should what was found hold."""


class Queue(Record):
    """What a queue of the page brought on this day, and what waits in it."""

    name: str
    """Such as audit or suspicious."""
    title: str
    """What people read in its place."""
    looks: int
    """Of people on this day."""
    compared: int
    """Looks at images that had a label before: of the network or, among given labels, of a person."""
    errors: int
    """Of them, those whose label a person changed."""
    undecided: int
    """Looks that ended in "rejected" or "unsure"."""
    waiting: int
    """Images that wait in it."""


class ClassFacts(Record):
    """A class of the project."""

    id: int
    """Its number in the store."""
    name: str
    """As people know it."""
    status: str
    """Always "active": others are not told."""
    by_people: int
    """Images of the whole project whose label a person gave or confirmed."""
    by_network: int
    """Images of the whole project that have the class as an auto-label."""
    looked: int
    """Looks of the audit at auto-labels of this class."""
    right: int
    """Of those, the ones at right labels."""
    precision: Estimate | None
    """Share of right ones among its auto-labels. null: too few checked to say."""
    today: int
    """Images of the day with this label, by people and network."""
    yesterday: int | None
    """The same of the day before; null on the first day."""


class Shown(Record):
    """An image of which the page shows a picture."""

    image: int
    """Its number in the store."""
    name: str
    """Of its file."""
    label: str | None
    """What stands for it, a class, "rejected" or "unsure"; null: nothing."""
    by: str | None
    """Whose label it is: a person's name, "auto" or "accepted"."""
    side: int
    """The longer one, in pixels."""
    score: float | None
    """Its distance from all earlier days, or the rank of its given label among all, 1 = the most suspicious."""


class Confusion(Record):
    """What the network said, and what people said instead."""

    said: str
    """The network's class."""
    meant: str
    """The class that people named."""
    count: int
    """How often, on this day."""
    share: float
    """Of all corrections."""
    examples: list[Shown]
    """A few of the images."""


class Named(Record):
    """How many images have a label."""

    name: str
    """Of the class, or "rejected" or "unsure"."""
    count: int
    """Images."""


class Far(Record):
    """Images that lie far from all earlier days, together where they look alike."""

    ranked_by: str
    """By which features: their own before the training, those of a run, or both."""
    looked: int
    """Of the images that were queued as the farthest of this day, those that a person has labeled."""
    labels: list[Named]
    """As what, the commonest first."""
    typical: float | None
    """Median distance of the day's images."""
    groups: list[list[Shown]]
    """The images, those that look alike in one list."""


class Given(Record):
    """Labels by people that the training found hard to agree with."""

    run: str
    """The training."""
    ranked: int
    """Given labels that the run ranked."""
    waiting: int
    """Of them, those that wait for a person's look."""
    images: list[Shown]
    """The most suspicious ones."""


class Reviewer(Record):
    """A person who has looked at images."""

    name: str
    """As it stands beside their labels."""
    looks: int
    """On this day."""
    in_all: int
    """Looks on all days."""
    per_minute: float | None
    """Looks a minute of work; pauses are left out."""
    itself: Estimate | None
    """How often the same answer came for an image that was shown again, hidden among others."""
    others: Estimate | None
    """How often it was the answer of another person."""


class Step(Record):
    """What a person can do next."""

    what: Literal["label", "audit", "suspicious", "given", "farthest", "second-look", "train", "add"]
    """A queue of the page to look through (label: the farthest images of the first day), or train, or add images."""
    images: int
    """To be looked at."""
    minutes: float | None
    """That the looks take at the pace of the report. null: there is nothing to look at."""
    gain: float | None
    """Of audit steps: the half width of the interval afterwards, as far as can be told."""


class Day(Record):
    """A day in the course of the project."""

    number: int
    """From 1 on."""
    images: int
    """That were added on it."""
    by_people: int
    """Labels of people at its end, in all."""
    looks: int
    """Of people on it."""
    errors: int
    """Of these, the ones that changed a label."""
    run: str | None
    """The newest network that it trained; null: none."""
    accuracy: Estimate | None
    """Of that day's auto-labels, as its network gave them."""


class Event(Record):
    """A change of the classes, or a note."""

    at: str
    """When, UTC."""
    who: str
    """Who made it."""
    text: str
    """What was done."""
    today: bool
    """Whether it was on the day of the report."""


class Report(Record):
    """report/day-003.json: what is known at the end of a day."""

    version: Literal[1]
    """Of the file's format."""
    project: str
    """Its name."""
    day: int
    """From 1 on."""
    event: int
    """The newest event that the report knows of."""
    at: str
    """When that was, UTC; "" where nothing has happened."""
    images: int
    """Of the day."""
    images_in_all: int
    """Of the project."""
    states: dict[str, int]
    """Images of the day by the state of their label."""
    accuracy: Accuracy
    queues: list[Queue]
    classes: list[ClassFacts]
    """The active ones."""
    confusions: list[Confusion]
    """The commonest first."""
    corrections: int
    """Labels of the network that people changed on this day."""
    far: Far | None
    given: Given | None
    reviewers: list[Reviewer]
    """Those with the most looks of the day first."""
    steps: list[Step]
    """In the order in which they are best done."""
    pace: float
    """Looks a minute by which minutes are told."""
    pace_known: bool
    """Whether it is the reviewers' own."""
    course: list[Day]
    """All days up to this one."""
    changes: list[Event]
    """The newest first."""


def to_json(report: Report) -> str:
    return dump_json(report.model_dump(mode="json"), indent=1) + "\n"


def read_report(path: Path | str) -> Report:
    """The report in a JSON file. Raises `UserError` where it is none, or of a version that this one does not know."""
    content: Any = read_json(Path(path), LARGEST)
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(f"{path}: is no report of version {VERSION}; write it anew: semisonic daily PROJECT report")
    try:
        return Report.model_validate(content)
    except ValidationError as error:
        raise UserError(mistakes(error, str(path))) from error
