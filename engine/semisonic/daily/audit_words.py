"""What an audit tells, in sentences. A figure that no person's look at random images backs is never called accuracy."""

from collections.abc import Sequence
from datetime import date

from semisonic.curation.audit import STRATIFIED_FROM
from semisonic.curation.intervals import Estimate
from semisonic.daily.audit_result import AuditResult


def percent(share: float, digits: int = 1) -> str:
    """0.968 -> "96.8". What is not wholly right or wrong is not rounded to that."""
    text = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if share < 1 and float(text) == 100:
        text = f"{100 - least:.{digits}f}"
    if share > 0 and float(text) == 0:
        text = f"{least:.{digits}f}"
    return text


def day_of_month(day: date) -> str:
    """28 November."""
    return f"{day.day} {day:%B}"


def days_text(days: Sequence[int]) -> str:
    """day 3; days 1 to 3; days 1, 3."""
    if len(days) == 1:
        return f"day {days[0]}"
    if list(days) == list(range(days[0], days[-1] + 1)):
        return f"days {days[0]} to {days[-1]}"
    return f"days {', '.join(map(str, days))}"


def interval(found: Estimate) -> str:
    """(95 % interval 94.9 to 98.2)"""
    return f"(95 % interval {percent(found.low)} to {percent(found.high)})"


def sentences(result: AuditResult) -> str:
    """All that a reader should know of the accuracy, in a paragraph."""
    shown = result.labels if result.handed_out is None else result.handed_out
    people = f"a person{_dates(result)}" if len(result.people) <= 1 else f"{len(result.people)} people{_dates(result)}"
    if result.handed_out is not None and shown.population == result.by_people:
        parts = [
            f"All {shown.population:,} labels of {result.of} are people's own by now, who are taken to be right. "
            f"Of the {result.labels.population:,} that the network gave, {percent(result.labels.value)} % were right "
            f"{interval(result.labels)}, estimated from {result.labels.n:,} images that were drawn at random and "
            f"checked by {people}."
        ]
        return " ".join([*parts, *_more(result)])
    parts = [
        f"Of the {shown.population:,} labels of {result.of}, {percent(shown.value)} % are right {interval(shown)}, "
        f"estimated from {shown.n:,} images that were drawn at random and checked by {people}."
    ]
    if result.handed_out is not None and result.handed_out.population != result.labels.population:
        own = result.labels
        parts.append(
            f"{result.by_people:,} of them are people's own; of the {own.population:,} that the network gave, "
            f"{percent(own.value)} % were right {interval(own)}."
        )
    return " ".join([*parts, *_more(result)])


def _more(result: AuditResult) -> list[str]:
    """What stands beside every accuracy."""
    parts = []
    if result.sure is not None and result.doubtful is not None:
        parts.append(
            f"Sure labels {percent(result.sure.value)} %, doubtful ones {percent(result.doubtful.value, 0)} %."
        )
    parts += _method(result)
    return [*parts, f"The network's own mean confidence, {percent(result.confidence)} %, is not a measurement."]


def _dates(result: AuditResult) -> str:
    if result.first is None or result.last is None:
        return ""
    if result.first == result.last:
        return f" on {day_of_month(result.last)}"
    return f" from {day_of_month(result.first)} to {day_of_month(result.last)}"


def _method(result: AuditResult) -> list[str]:
    """What a reader must know of how the interval came about, where it is not the usual one."""
    found, left = result.labels, result.drawn - result.looked
    parts = []
    if left:
        parts.append(f"Of the {result.drawn:,} images drawn, {left:,} are not checked yet.")
    if found.method == "simple" and found.n < found.population:
        parts.append(
            f"With fewer than {STRATIFIED_FROM} images the draw is simply random, the interval Clopper and Pearson's."
        )
    if found.method == "cautious":
        parts.append("The interval is a cautious one until most of them are.")
    if result.unsure:
        parts.append(f"{result.unsure:,} that a person could not tell are left out.")
    if other := result.looked - result.blind:
        parts.append(f"{other:,} were checked where the network's guess was shown.")
    return parts


def warning_light(confidence: float, found: Estimate) -> str | None:
    """How the network's mean confidence stands to what people found; None where it lies within the interval."""
    if found.low <= confidence <= found.high:
        return None
    word = "surer" if confidence > found.high else "less sure"
    return (
        f"The network is {word} than it is right: its mean confidence is {percent(confidence)} %, "
        f"and people found {percent(found.low)} to {percent(found.high)} % of its labels right."
    )
