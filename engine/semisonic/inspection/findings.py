"""What an inspection found: plain values, which become a table or JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from semisonic.inspection.facts import NEARLY_EMPTY

RULE = f"the standard deviation of the pixels is below {NEARLY_EMPTY:g} of 255 levels in every channel"
"""When an image is called nearly empty."""


class Span(NamedTuple):
    """Smallest, middle and largest of some values."""

    least: float
    median: float
    most: float


def span(values_N: np.ndarray) -> Span | None:
    """None of no values."""
    if not len(values_N):
        return None
    return Span(*(round(float(value), 3) for value in (values_N.min(), np.median(values_N), values_N.max())))


class ClassCount(NamedTuple):
    """A class and its images by role: those with this label, those that a run would draw of them, and test images."""

    name: str
    labeled: int
    drawn: int
    held_out: int
    test: int


class Unusable(NamedTuple):
    """A file and why training cannot use it."""

    path: str
    reason: str


class Suggestion(NamedTuple):
    """An option ready to paste, and why."""

    option: str
    why: str


@dataclass
class Roles:
    """Images by what they are for."""

    labeled: int = 0
    """With a label, for the training."""
    unlabeled: int = 0
    """Without one."""
    test: int = 0
    other: int = 0
    """Where the folder's layout is not understood: all images below it."""
    test_held_back: bool = False
    """Whether the test images were taken from the labeled ones, since none are given."""
    drawn: int = 0
    """Labels that a run would use, as data.labels says; 0 where it would refuse."""
    held_out: int = 0
    pool: int = 0
    """Unlabeled pool of that run."""

    @property
    def images(self) -> int:
        return self.labeled + self.unlabeled + self.test + self.other


@dataclass
class Files:
    """What the first bytes of all image files say."""

    images: int = 0
    bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)
    format_bytes: dict[str, int] = field(default_factory=dict)
    colors: dict[str, int] = field(default_factory=dict)
    orientations: dict[int, int] = field(default_factory=dict)
    """By EXIF tag; of images that are turned, so without 1."""
    height: Span | None = None
    width: Span | None = None
    shorter_side: Span | None = None
    aspect: Span | None = None
    """Width over height."""
    largest: str = ""
    """Path of the image with the most pixels."""
    size: int | None = None
    """data.size, where it was given."""
    smaller: int = 0
    """Images whose shorter side is below it: they are enlarged."""
    several: int = 0
    """Files that hold more than one picture, of which the first is read."""
    one_of_several: str = ""
    """Path of one of them."""


@dataclass
class Decoded:
    """What the pixels of a sample show."""

    images: int = 0
    whole: bool = True
    """Whether that were all images."""
    via_pillow: int = 0
    gray: int = 0
    """Stored as color and gray in all pixels."""
    nearly_empty: list[str] = field(default_factory=list)
    rule: str = RULE


@dataclass
class Copies:
    """Files of equal content."""

    same: int = 0
    """Images that are copies of another, without the first of each."""
    links: int = 0
    """Of these, the same file by another name."""
    groups: list[list[str]] = field(default_factory=list)
    """Paths of one content each, of all that follows too."""
    harmless: list[list[str]] = field(default_factory=list)
    """Pairs of paths: an image and its copy, neither contradictions nor leaks."""
    contradictions: list[list[str]] = field(default_factory=list)
    """Pairs of paths of one content and two labels."""
    leaks: list[list[str]] = field(default_factory=list)
    """Pairs of paths: a test image, and a training image of the same content."""


@dataclass
class Inspection:
    """All of it."""

    source: str
    roles: Roles = field(default_factory=Roles)
    classes: list[ClassCount] = field(default_factory=list)
    files: Files = field(default_factory=Files)
    decoded: Decoded = field(default_factory=Decoded)
    copies: Copies = field(default_factory=Copies)
    unusable: list[Unusable] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    """Files that are no images by their name, by ending."""
    advice: str = ""
    """What to do about these."""
    tools: dict[str, int] = field(default_factory=dict)
    """Hidden and tool-made entries, by name."""
    written: list[str] = field(default_factory=list)
    """Folders that this program wrote."""
    problems: list[str] = field(default_factory=list)
    """Why a training on it would be refused."""
    notes: list[str] = field(default_factory=list)
    """What should be looked at."""
    suggestions: list[Suggestion] = field(default_factory=list)
    command: str = ""
    """A training on it, ready to paste."""

    @property
    def refused(self) -> bool:
        return bool(self.problems)

    def as_json(self) -> dict[str, Any]:
        """Dictionaries, lists, text and finite numbers."""
        content = {"version": 1, "refused": self.refused, **asdict(self)}
        for name in ("classes", "unusable", "suggestions"):
            content[name] = [entry._asdict() for entry in getattr(self, name)]
        for name in ("height", "width", "shorter_side", "aspect"):
            value: Span | None = getattr(self.files, name)
            content["files"][name] = None if value is None else value._asdict()
        return content
