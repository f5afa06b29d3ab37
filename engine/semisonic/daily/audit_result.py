"""What is known of a run's labels by people's looks at random ones."""

from dataclasses import dataclass
from datetime import date

from semisonic.curation.audit import ClassPrecision
from semisonic.curation.intervals import Estimate


@dataclass(frozen=True)
class AuditResult:
    """What is known of a run's labels. Shares are from 0 to 1."""

    run: str
    of: str
    """Which labels: "day 3"."""
    labels: Estimate
    """The share of right labels among those that the run gave, before people put any right."""
    handed_out: Estimate | None
    """Of all labels of these days as they are now, people's among them; None where another run's are current."""
    by_people: int
    """Of the labels that are handed out, those that a person gave, confirmed or corrected."""
    sure: Estimate | None
    doubtful: Estimate | None
    """The same as `labels` of its sure and its doubtful part; None with too few looks."""
    confidence: float
    """The network's own mean, which is no measurement."""
    warning: str | None
    """Where the network is surer, or less sure, than it is right."""
    drawn: int
    looked: int
    """Of those drawn; `unsure` among them."""
    unsure: int
    blind: int
    """Of those looked at, in the queue that shows no guess."""
    people: tuple[str, ...]
    first: date | None
    last: date | None
    """Of the looks."""
    more: int
    """Looks that lead to an interval of +-2 points."""
    classes: list[ClassPrecision]
    names: dict[int, str]
    """Of the classes, by their ids."""
    pairs: list[tuple[int, int, int]]
    """(label, what a person says, how often) of wrong labels, the commonest first."""
    words: str = ""
    """All of it in sentences."""
