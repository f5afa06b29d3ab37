"""What goes into a store and comes out of it: states, classes, changes, images, scores."""

from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semisonic.schema import UserError

ANY = -1
"""Of `Change.seen`: whatever stands is replaced."""
NONE = -1
"""Of a class, in arrays of numbers: there is none."""


class State(IntEnum):
    """What an image's label is worth."""

    UNLABELED = 0
    AUTO = 1
    """Of the newest run."""
    ACCEPTED = 2
    """Of the newest run, and above a threshold that an audit backs. Never trained on."""
    GIVEN = 3
    """By a person or an import, without a guess at hand."""
    REVIEWED = 4
    """By a person who has confirmed or corrected a guess."""
    REJECTED = 5
    """An image of no class: neither trained on nor in the pool."""
    UNSURE = 6
    """A person did not know; it stays in the pool."""

    @property
    def word(self) -> str:
        return self.name.lower()


PERSON = frozenset({State.GIVEN, State.REVIEWED})
"""Those with a label that is trained on."""
LOOKED = PERSON | {State.REJECTED, State.UNSURE}
"""Those that a person has decided."""


@dataclass(frozen=True)
class ClassRow:
    """A class as it is now."""

    id: int
    name: str
    position: int
    status: str
    """active, merged or retired."""
    merged_into: int | None = None


@dataclass(frozen=True)
class Change:
    """What a person says of an image."""

    image: int
    state: State
    class_id: int | None
    seen: int | None
    """The newest event of the image when the person looked; None or 0: there was none; `ANY`: whatever it is."""
    key: str | None = None
    """Names the change: sent again, it is still one."""
    details: dict[str, Any] | None = None


class Now(NamedTuple):
    """What stands for an image."""

    event: int | None
    """The newest one of this image; None: nobody has said anything."""
    state: State
    class_id: int | None
    who: str | None


class Conflict(UserError):
    """Changes that were made on what does not stand any more."""

    def __init__(self, messages: str | list[str], conflicts: tuple[tuple[int, Now], ...] = ()):
        super().__init__(messages)
        self.conflicts = conflicts
        """Each image, and what stands for it."""

    @property
    def image(self) -> int:
        return self.conflicts[0][0]

    @property
    def now(self) -> Now:
        return self.conflicts[0][1]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.messages, self.conflicts)


class NewImage(NamedTuple):
    """A sound image file."""

    path: str
    """Absolute."""
    hash: bytes
    """BLAKE2b-128 of its bytes."""
    bytes: int
    mtime_ns: int
    inode: int
    width: int
    height: int
    label: str | None
    """A class's name."""


@dataclass
class Added:
    """What came of adding images."""

    day: int
    opened: bool = False
    """Whether the day begins with these images: a training of the day before has begun."""
    new: int = 0
    known: int = 0
    """Their content was there before, under this path or another."""
    moved: int = 0
    """Of those known: they lie elsewhere now."""
    changed: int = 0
    """Of those new: another image was at their path before."""
    labeled: int = 0
    problems: list[str] = field(default_factory=list)
    """What the user should look at, a line each; nothing of it kept an image out."""


class ScoreBatch(NamedTuple):
    """Columns of the scores of N images, as `auto/RUN/part-*.parquet` has them."""

    image: np.ndarray
    """int64 [N]."""
    class_id: np.ndarray
    """int [N]: the label, by the id of its class."""
    runner_up: np.ndarray
    """int [N]; -1: there is none."""
    confidence: np.ndarray
    """float [N]: of the label, on the plain image."""
    certainty: np.ndarray
    """float [N]: mean of the views' and the run's mean probability of the label."""
    suspicion: np.ndarray
    """float [N]: 0 = surest .. 1."""
    distance: np.ndarray
    """float [N]; NaN: there are no earlier days."""


@dataclass(frozen=True, eq=False)
class Current:
    """All images as they are now, in the order of their ids, which ascend."""

    image: np.ndarray
    """int64 [N]."""
    day: np.ndarray
    state: np.ndarray
    """`State`."""
    class_id: np.ndarray
    """-1: none."""
    event: np.ndarray
    """The newest one of the image; 0: none."""

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of the newest run, in the order of the images' ids. Classes are those merged into by now; -1: none."""

    run: str | None
    image: np.ndarray
    class_id: np.ndarray
    runner_up: np.ndarray
    confidence: np.ndarray
    certainty: np.ndarray
    suspicion: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


class AuditRow(NamedTuple):
    """An audit that was drawn."""

    id: int
    run: str
    day: int
    at: str
    method: str
    seed: int
    population: int
    details: dict[str, Any]


@dataclass(frozen=True, eq=False)
class AuditRows:
    """The images of an audit, in the order of their ids."""

    image: np.ndarray
    stratum: np.ndarray
    class_id: np.ndarray
    """The auto-label that is audited; -1: its class was retired."""
    certainty: np.ndarray
    event: np.ndarray
    """The first look of a person afterwards; 0: nobody has looked."""
    state: np.ndarray
    """What the person says by now (`State`); -1: nobody has looked."""
    person_class: np.ndarray
    """-1: none."""
    blind: np.ndarray
    """bool: the first look was in the queue that shows no guess."""

    def __len__(self) -> int:
        return len(self.image)


class SecondLook(NamedTuple):
    """A person's answer on an image that they or another had answered before."""

    id: int
    image: int
    first: int
    """The event of the first answer."""
    who: str
    at: str
    state: State
    class_id: int | None
    first_who: str
    first_state: State
    first_class: int | None


class Revision(NamedTuple):
    """A frozen training set."""

    number: int
    day: int
    run: str
    path: Path
    """CSV with columns path and label (empty: unlabeled)."""
    images: int
    labeled: int
    digest: str
    classes: tuple[str, ...]
    last_event: int
    gone: int = 0
    """Images that were left out, because their files are gone or changed; told when it is made alone."""
