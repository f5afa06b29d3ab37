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
    low: float
    high: float
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
    certainty: float
    """Mean of the network's probability of its own labels: by which the parts were cut, and no measurement."""
    right: int
    accuracy: Estimate | None
    """None: nobody has looked at one."""


class Accuracy(Record):
    """Of the labels that are handed out."""

    run: str | None
    """The network that gave the auto-labels; None: there are none yet."""
    of: str
    """Which images, such as "day 3"."""
    labels: int
    """Labels handed out: by people and by the network."""
    by_people: int
    by_network: int
    drawn: int
    """Images of the audit."""
    waiting: int
    """Of them, those that nobody has looked at."""
    confidence: float | None
    """The network's own mean confidence in its labels; None: it has given none. Not a measurement."""
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
    """Of the surer parts of the network's labels; None with too few looks."""
    doubtful: Estimate | None = None
    parts: list[Part] = []
    unsure: int = 0
    """Of the images that were looked at, those of which a person could not tell the class; they do not count."""
    blind: int = 0
    """Of those, the ones that were looked at without the network's label on the screen."""
    checked_by: list[str] = []
    checked_on: list[str] = []
    """Dates of the first and the last look."""
    more_for_two_points: int | None = None
    """Further looks that bring the interval to +-2 points, should what was found hold."""


class Queue(Record):
    """What a queue of the page brought on this day, and what waits in it."""

    name: str
    title: str
    looks: int
    compared: int
    """Looks at images that had a label before: of the network or, among given labels, of a person."""
    errors: int
    """Of them, those whose label a person changed."""
    undecided: int
    """Looks that ended in "rejected" or "unsure"."""
    waiting: int


class ClassFacts(Record):
    id: int
    name: str
    status: str
    by_people: int
    """Images of the whole project whose label a person gave or confirmed."""
    by_network: int
    """Images of the whole project that have the class as an auto-label."""
    looked: int
    """Looks of the audit at auto-labels of this class."""
    right: int
    precision: Estimate | None
    """None: too few checked to say."""
    today: int
    """Images of the day with this label, by people and network."""
    yesterday: int | None
    """The same of the day before; None on the first day."""


class Confusion(Record):
    """What the network said, and what people said instead."""

    said: str
    meant: str
    count: int
    share: float
    """Of all corrections."""
    examples: list["Shown"]


class Shown(Record):
    """An image of which the page shows a picture."""

    image: int
    name: str
    """Of its file."""
    label: str | None
    """What stands for it, a class, "rejected" or "unsure"; None: nothing."""
    by: str | None
    """Whose label it is: a person's name, "auto" or "accepted"."""
    side: int
    """The longer one, in pixels."""
    score: float | None
    """Its distance from all earlier days, or the rank of its given label among all, 1 = the most suspicious."""


class Named(Record):
    name: str
    count: int


class Far(Record):
    """Images that lie far from all earlier days, together where they look alike."""

    ranked_by: str
    """Whose features say so: "the queue" before the training, or the name of a run."""
    looked: int
    """Of the images that were queued as the farthest of this day, those that a person has labeled."""
    labels: list[Named]
    """As what, the commonest first."""
    typical: float | None
    """Median distance of the day's images."""
    groups: list[list[Shown]]


class Given(Record):
    """Labels by people that the training found hard to agree with."""

    run: str
    ranked: int
    """Given labels that the run ranked."""
    waiting: int
    images: list[Shown]


class Reviewer(Record):
    name: str
    looks: int
    """On this day."""
    in_all: int
    per_minute: float | None
    """Looks a minute of work; pauses are left out."""
    itself: Estimate | None
    """How often the same answer came for an image that was shown again, hidden among others."""
    others: Estimate | None
    """How often it was the answer of another person."""


class Step(Record):
    """What a person can do next."""

    what: Literal["label", "audit", "suspicious", "given", "farthest", "second-look", "train", "add"]
    images: int
    minutes: float | None
    gain: float | None
    """Of audit steps: the half width of the interval afterwards, as far as can be told."""


class Day(Record):
    """A day in the course of the project."""

    number: int
    images: int
    by_people: int
    """Labels of people at its end, in all."""
    looks: int
    errors: int
    run: str | None
    accuracy: Estimate | None
    """Of that day's auto-labels, as its network gave them."""


class Event(Record):
    """A change of the classes, or a note."""

    at: str
    who: str
    text: str
    today: bool


class Report(Record):
    version: Literal[1]
    project: str
    day: int
    event: int
    """The newest event that the report knows of."""
    at: str
    """When that was, UTC; "" where nothing has happened."""
    images: int
    """Of the day."""
    images_in_all: int
    states: dict[str, int]
    """Images of the day by the state of their label."""
    accuracy: Accuracy
    queues: list[Queue]
    classes: list[ClassFacts]
    confusions: list[Confusion]
    corrections: int
    far: Far | None
    given: Given | None
    reviewers: list[Reviewer]
    steps: list[Step]
    pace: float
    """Looks a minute by which minutes are told."""
    pace_known: bool
    """Whether it is the reviewers' own."""
    course: list[Day]
    changes: list[Event]


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
